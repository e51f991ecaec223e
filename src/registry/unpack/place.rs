//! Names in an archive, checked before anything is done with them.

use super::UnpackError;
use crate::registry::quoted;

/// The kernel's `PATH_MAX`, less the zero byte.
const LONGEST: usize = 4095;
const LONGEST_NAME: usize = 255;
/// Directories in one another, the root not counted.
pub(super) const DEEPEST: u16 = 256;

/// A path beneath the layer's root: names joined by single slashes, none of them `.` or `..`. The
/// root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(Vec<u8>);

impl Place {
    /// Leading slashes and `.` mean nothing, as in GNU tar.
    ///
    /// # Errors
    /// [`UnpackError::Unsupported`] for a path that leads out or is longer than the kernel takes.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, UnpackError> {
        let refused = |why: &str| Err(UnpackError::Unsupported(format!("{} {why}", shown(raw))));
        if raw.contains(&0) {
            return Err(UnpackError::Corrupt(format!("{} has a zero byte in it", shown(raw))));
        }
        let mut path = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for name in raw.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return refused("leads out of the layer"),
                name if name.len() > LONGEST_NAME => return refused("has too long a name in it"),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                    depth += 1;
                }
            }
        }
        if path.len() > LONGEST {
            return refused("is too long a path");
        }
        if depth > DEEPEST {
            return refused("is too deep");
        }
        Ok(Self(path))
    }

    /// The directory it lies in and its name there; `None` for the root.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        (!self.0.is_empty()).then(|| split(&self.0))
    }

    /// Whether it lies beneath a directory that every container fills by itself.
    pub(super) fn is_the_containers_own(&self) -> bool {
        let beneath = |name: &[u8]| self.0.strip_prefix(name).is_some_and(|r| r.starts_with(b"/"));
        [&b"dev"[..], b"proc", b"sys"].into_iter().any(beneath)
    }

    /// Whether it lies in a directory of another union file system's own affairs.
    pub(super) fn is_a_leftover(&self) -> bool {
        let above = self.split().map(|(above, _)| above).unwrap_or_default();
        above.split(|byte| *byte == b'/').any(|name| name.starts_with(b".wh..wh."))
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        shown(&self.0)
    }
}

/// The last name of a path of [`Place`]'s form, and what is in front of it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Hostile bytes made fit for a message.
pub(super) fn shown(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_NAME)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_relative() {
        for (raw, path) in [
            ("", ""),
            ("./", ""),
            ("/", ""),
            ("a", "a"),
            ("./a//b/./c/", "a/b/c"),
            ("//etc/passwd", "etc/passwd"),
            ("...", "..."),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(Place::parse(raw.as_bytes()).unwrap().0, path.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn no_name_leads_out() {
        for raw in ["..", "../x", "a/../b", "/..", "a/..", "./../x"] {
            let refused = Place::parse(raw.as_bytes());
            assert!(matches!(refused, Err(UnpackError::Unsupported(_))), "{raw}: {refused:?}");
        }
        assert!(matches!(Place::parse(b"a\0b"), Err(UnpackError::Corrupt(_))));
    }

    #[test]
    fn names_are_as_long_as_the_kernel_takes_them() {
        let long = |names: usize, last: usize| {
            let path = "x".repeat(255) + "/";
            path.repeat(names) + &"y".repeat(last)
        };
        for fine in [long(0, 255), long(15, 255)] {
            assert!(Place::parse(fine.as_bytes()).is_ok(), "{} bytes", fine.len());
        }
        for bad in [long(0, 256), "x/".repeat(2047) + "yy", "d/".repeat(257)] {
            assert!(Place::parse(bad.as_bytes()).is_err(), "{} bytes", bad.len());
        }
        assert!(Place::parse("d/".repeat(256).as_bytes()).is_ok());
    }

    #[test]
    fn what_containers_fill_themselves_is_known() {
        for (raw, own) in [
            ("dev/x", true),
            ("proc/1/x", true),
            ("sys/a", true),
            ("dev", false),
            ("devs/x", false),
        ] {
            assert_eq!(Place::parse(raw.as_bytes()).unwrap().is_the_containers_own(), own, "{raw}");
        }
    }
}
