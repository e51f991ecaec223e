//! Paths and patterns of files: what is accepted stays beneath its folder, by the kernel's own word;
//! what is refused would leave it, or breaks one of the rules that are ours alone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use oncebox_guest::glob::Globs;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2, unlinkat};
use rustix::io::Errno;
use tempfile::TempDir;

use super::one_line;
use crate::execution::request::{Arg, EnvName, EnvValue, Invalid, Pattern, RelativePath};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let path = RelativePath::try_from(text.clone());
    let kernel = kernel(&text);
    match &path {
        Ok(path) => {
            assert_eq!(path.as_str(), text);
            let parts: Vec<_> = Path::new(&text).components().collect();
            assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
            assert_eq!(parts.len(), text.split('/').count(), "{text:?}");
            assert_eq!(kernel, Ok(()), "the kernel refuses {text:?}");
        }
        Err(Invalid(why)) => {
            one_line(why);
            assert!(kernel.is_err() || stricter(&text), "{text:?} is refused: {why}");
        }
    }
    let pattern = Pattern::try_from(text.clone());
    if pattern.is_ok() {
        assert!(path.is_ok(), "{text:?} is a pattern and no path");
        let globs = Globs::new(&[bytes.to_vec()]);
        assert!(!globs.start().is_dead_end());
        let itself = !text.contains(['*', '?', '[']);
        assert!(!itself || globs.matches(bytes), "{text:?} does not match itself");
    }
    let name = EnvName::try_from(text.clone());
    assert!(name.is_err() || !text.is_empty() && !text.contains(['=', '\0']));
    for accepted in [Arg::try_from(text.clone()).is_ok(), EnvValue::try_from(text.clone()).is_ok()]
    {
        assert_eq!(accepted, !text.contains('\0') && text.len() < 128 << 10);
    }
    let refusals = [pattern.err(), name.err(), Arg::try_from(text.clone()).err()];
    for Invalid(why) in refusals.into_iter().flatten() {
        one_line(&why);
    }
}

/// Refused here, though a kernel would find its way within the folder: what a person can't read or
/// tell apart, and what is not written in the one plain form.
fn stricter(text: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    text.trim().is_empty()
        || text.contains(char::is_control)
        || !text.split('/').all(plain)
        || text.split('/').count() > 64
}

/// Whether the kernel makes this file beneath a folder, where all folders that it names exist.
fn kernel(text: &str) -> Result<(), Errno> {
    let folder = TempDir::new().unwrap();
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = open(folder.path(), flags, Mode::empty()).unwrap();
    if !text.contains('\0') {
        make_folders(&root, text, flags);
    }
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = loop {
        match openat2(&root, text, create, Mode::RWXU, resolve) {
            Err(Errno::AGAIN) => {}
            opened => break opened?,
        }
    };
    drop(file);
    unlinkat(&root, text, AtFlags::empty())
}

/// Every folder on the way, as long as the way is inside.
fn make_folders(root: &OwnedFd, text: &str, flags: OFlags) {
    let mut inside: Vec<OwnedFd> = vec![root.as_fd().try_clone_to_owned().unwrap()];
    let Some((folders, _)) = text.trim_start_matches('/').rsplit_once('/') else { return };
    for name in folders.split('/').take(100) {
        match name {
            "" | "." => {}
            ".." => {
                inside.pop();
            }
            name => {
                let Some(here) = inside.last() else { return };
                match mkdirat(here, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(_) => return,
                }
                inside.push(openat(here, name, flags, Mode::empty()).unwrap());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let part = prop_oneof![
            6 => "[a\\\\%]{1,3}",
            2 => Just("..".to_owned()),
            1 => Just(".".to_owned()),
            1 => Just(String::new()),
            1 => "[a-c?*\\[\\]!]{1,5}",
            1 => "[ \u{85}\u{e9}\u{202e}\0\n]{1,3}",
            1 => (250..260_usize).prop_map(|length| "x".repeat(length)),
        ];
        let few = prop::collection::vec(part.clone(), 1..6);
        let many = prop::collection::vec(part, 60..70);
        let paths = prop_oneof![9 => few, 1 => many].prop_map(|parts| parts.join("/").into_bytes());
        twin::run("path", 500, paths, super::check);
    }
}
