//! Adding an entry to the key file, so that whoever reads it meanwhile sees the old one or the new.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::api::access::file::{self, Fault, KeyFileError};

/// Adds it; a file that is not there yet is made, for its owner alone.
pub(super) fn append(path: &Path, entry: &str) -> Result<(), KeyFileError> {
    let failed = |fault| KeyFileError { path: path.to_owned(), fault: Box::new(fault) };
    let unwritten = |e: io::Error| failed(Fault::File(format!("the file can't be written: {e}")));
    // Where a link leads, so that the link stays.
    let target = match fs::canonicalize(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => path.to_owned(),
        target => target.map_err(unwritten)?,
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Two that add at once would lose one of the entries.
    let folder = File::open(folder).map_err(unwritten)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|e| unwritten(e.into()))?;
    let there = target.exists();
    let mut text = if there { file::text(&target).map_err(failed)? } else { String::new() };
    if !text.is_empty() {
        text += if text.ends_with('\n') { "\n" } else { "\n\n" };
    }
    text += entry;
    file::parse(&text).map_err(failed)?;
    replace(&target, &text, there).map_err(unwritten)
}

/// Puts a new file in the place of the old one, with the same owner and for the same readers.
fn replace(target: &Path, text: &str, there: bool) -> io::Result<()> {
    let mut name: OsString = target.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(name);
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        if there {
            let old = fs::metadata(target)?;
            let own = file.metadata()?;
            if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, target)
    })();
    if written.is_err() {
        // What is left of a failed try is nobody's.
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn entry(name: &str, digit: char) -> String {
        let hash = digit.to_string().repeat(64);
        format!("[[keys]]\nname = \"{name}\"\nhash = \"sha256:{hash}\"\nscopes = [\"execute\"]\n")
    }

    fn names(path: &Path) -> Vec<String> {
        let keys = file::read(path).expect("valid");
        keys.iter().map(|key| key.name.to_string()).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn a_new_file_is_its_owners_and_an_old_one_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.toml");
        append(&path, &entry("a", '1')).expect("made");
        assert_eq!((names(&path), mode(&path)), (vec!["a".to_owned()], 0o600));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("its owner");
        let text = fs::read_to_string(&path).expect("read");
        // A comment, and no end of the last line.
        fs::write(&path, format!("# mine\n{}", text.trim_end())).expect("written");
        append(&path, &entry("b", '2')).expect("added");
        assert_eq!((names(&path).len(), mode(&path)), (2, 0o640));
        assert!(fs::read_to_string(&path).expect("read").starts_with("# mine\n"));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn what_would_be_refused_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.toml");
        append(&path, &entry("a", '1')).expect("made");
        let before = fs::read(&path).expect("read");
        for (name, digit, rule) in [("a", '2', "name"), ("b", '1', "hash")] {
            let told = append(&path, &entry(name, digit)).expect_err("refused").to_string();
            assert!(told.contains(rule) && told.contains("has the same"), "{told}");
        }
        assert_eq!(fs::read(&path).expect("read"), before);
        assert!(append(&folder.path().join("none/keys.toml"), &entry("a", '1')).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("its owner");
        assert!(append(&path, &entry("b", '2')).is_err());
    }

    #[test]
    fn many_at_once_lose_no_entry_and_a_link_stays_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.toml");
        let link = folder.path().join("link.toml");
        append(&path, &entry("first", '0')).expect("made");
        symlink(&path, &link).expect("a link");
        std::thread::scope(|scope| {
            for digit in '1'..='8' {
                let link = &link;
                scope.spawn(move || {
                    append(link, &entry(&format!("n{digit}"), digit)).expect("added");
                });
            }
        });
        assert_eq!(names(&path).len(), 9);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    }
}
