//! What is mounted, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::borrow::Cow;
use std::io;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// The part of its file system that it shows.
    pub root: Cow<'a, str>,
    pub point: Cow<'a, str>,
    pub kind: &'a str,
    /// Those of the file system, not of the mount.
    pub options: &'a str,
}

/// The text of the file. A mount of somebody else's may have a name that is no text.
///
/// # Errors
/// What the kernel says.
pub fn read() -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo")?).into_owned())
}

/// The mounts in a text, in its order.
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(Mount::parse)
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /root /point rw,noatime shared:1 - cgroup cgroup rw,memory`
    fn parse(line: &'a str) -> Option<Self> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let mut tail = tail.split(' ');
        Some(Self {
            root: unescaped(head.next()?),
            point: unescaped(head.next()?),
            kind: tail.next()?,
            options: tail.nth(1)?,
        })
    }

    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

/// The kernel writes a space, a tab, a line feed and a backslash as three octal digits behind a
/// backslash. (systemd's names of groups are full of backslashes.)
fn unescaped(field: &str) -> Cow<'_, str> {
    let Some((before, mut rest)) = field.split_once('\\') else { return field.into() };
    let mut bytes = before.as_bytes().to_vec();
    loop {
        let digits =
            rest.get(..3).filter(|digits| digits.bytes().all(|b| (b'0'..=b'7').contains(&b)));
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => bytes.push(b'\\'),
        }
        let Some((before, after)) = rest.split_once('\\') else { break };
        bytes.extend_from_slice(before.as_bytes());
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned().into()
}
