//! Archives of any bytes, rooms to unpack them in, and what is there afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(fuzzing, allow(dead_code))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::{Cursor, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use tar::Header;
use tempfile::TempDir;

use super::process::unpack_into;
use super::{Caps, UnpackError, Unpacked};

pub(crate) const CAPS: Caps = Caps { bytes: 64 << 20, entries: 10_000 };
pub(crate) const MTIME: u64 = 1_234_567_890;

/// An archive of any bytes one likes.
#[derive(Default, Clone)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// An entry of this type whose header is well-formed otherwise.
    pub(crate) fn entry(mut self, kind: u8, name: &[u8], link: &[u8], content: &[u8]) -> Self {
        self.header(kind, name, link, content.len() as u64, 0o644);
        self.content(content)
    }

    pub(crate) fn header(&mut self, kind: u8, name: &[u8], link: &[u8], size: u64, mode: u32) {
        if name.len() > 100 {
            self.long(b'L', name);
        }
        if link.len() > 100 {
            self.long(b'K', link);
        }
        let mut header = Header::new_gnu();
        let short = |bytes: &[u8], field: &mut [u8; 100]| {
            let length = bytes.len().min(100);
            field[..length].copy_from_slice(&bytes[..length]);
        };
        short(name, &mut header.as_old_mut().name);
        short(link, &mut header.as_old_mut().linkname);
        header.as_old_mut().linkflag = [kind];
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(MTIME);
        header.set_cksum();
        self.0.extend(header.as_bytes());
    }

    pub(crate) fn long(&mut self, kind: u8, name: &[u8]) {
        let name = [name, b"\0"].concat();
        *self = std::mem::take(self).entry(kind, b"././@LongLink", b"", &name);
    }

    pub(crate) fn content(mut self, content: &[u8]) -> Self {
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn with_mode(mut self, kind: u8, name: &str, mode: u32) -> Self {
        self.header(kind, name.as_bytes(), b"", 0, mode);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name.as_bytes(), b"", content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.with_mode(b'5', name, 0o755)
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name.as_bytes(), target.as_bytes(), b"")
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..).map(|digits| rest + digits);
            let length = length.zip(1..).find(|(sum, digits)| sum.to_string().len() == *digits);
            write!(data, "{} {key}=", length.unwrap().0).unwrap();
            data.extend(*value);
            data.push(b'\n');
        }
        self.entry(b'x', b"pax", b"", &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A folder to unpack into, in a folder that must stay as it is.
pub(crate) struct Room {
    outside: TempDir,
    before: Tree,
}

impl Room {
    pub(crate) fn new() -> Self {
        let outside = TempDir::new().unwrap();
        let mut room = Self { outside, before: Tree::new() };
        fs::write(room.canary(), "alive").unwrap();
        fs::create_dir(room.layer()).unwrap();
        room.before = room.around();
        room
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.outside.path().join("layer")
    }

    /// A file beside it.
    pub(crate) fn canary(&self) -> PathBuf {
        self.outside.path().join("canary")
    }

    /// Everything but the layer.
    fn around(&self) -> Tree {
        let mut walk = Walk { but: Some("layer"), ..Walk::default() };
        walk.directory(&fs::File::open(self.outside.path()).unwrap(), Path::new(""));
        walk.tree
    }

    pub(crate) fn unpack(&self, archive: &[u8], caps: Caps) -> Result<Unpacked, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(self.layer(), flags, Mode::empty()).unwrap();
        let result = unpack_into(root, Cursor::new(archive.to_vec()), caps);
        assert_eq!(self.around(), self.before, "the outside has changed");
        for (path, node) in tree(&self.layer()) {
            assert_eq!(node.mode & 0o6000, 0, "{path:?} is set-uid or set-gid");
            assert!(!node.kind.starts_with("device") || node.kind == "device 0:0", "{path:?}");
        }
        result
    }
}

pub(crate) fn unpack(archive: &[u8]) -> (Room, Result<Unpacked, UnpackError>) {
    let room = Room::new();
    let result = room.unpack(archive, CAPS);
    (room, result)
}

/// What is there after an archive that has to work.
#[track_caller]
pub(crate) fn unpacked(archive: &[u8]) -> (Room, Tree) {
    let (room, result) = unpack(archive);
    result.unwrap();
    let tree = tree(&room.layer());
    (room, tree)
}

#[track_caller]
pub(crate) fn refused(archive: &[u8]) -> UnpackError {
    unpack(archive).1.expect_err("an archive to be refused")
}

pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// A file as anybody sees it.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Node {
    /// Type, and content or target.
    pub(crate) kind: String,
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, i64),
    /// The first of the paths that lead to the same file.
    pub(crate) same_as: PathBuf,
}

/// Everything beneath `root`, which itself is the empty path.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut walk = Walk::default();
    walk.directory(&fs::File::open(root).unwrap(), Path::new(""));
    walk.tree
}

#[derive(Default)]
struct Walk {
    tree: Tree,
    first: BTreeMap<u64, PathBuf>,
    /// A name at the top that is passed over.
    but: Option<&'static str>,
}

impl Walk {
    /// By descriptor, since the whole path may be longer than the kernel takes.
    fn directory(&mut self, directory: &fs::File, path: &Path) {
        let here = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        self.note(path, "directory".into(), &directory.metadata().unwrap());
        let mut names: Vec<_> =
            fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| self.but.is_none_or(|but| name != but));
        names.sort();
        for name in names {
            let (path, here) = (path.join(&name), here.join(&name));
            let metadata = fs::symlink_metadata(&here).unwrap();
            let kind = metadata.file_type();
            if kind.is_dir() {
                self.directory(&fs::File::open(&here).unwrap(), &path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&here).unwrap();
                self.note(&path, format!("link to {target:?}"), &metadata);
            } else if kind.is_fifo() {
                self.note(&path, "fifo".into(), &metadata);
            } else if kind.is_file() {
                self.note(&path, content(&fs::read(&here).unwrap()), &metadata);
            } else {
                let number = metadata.rdev();
                self.note(&path, format!("device {}:{}", number >> 8, number & 0xff), &metadata);
            }
        }
    }

    fn note(&mut self, path: &Path, kind: String, metadata: &fs::Metadata) {
        let first = self.first.entry(metadata.ino()).or_insert_with(|| path.into());
        let mtime = (metadata.mtime(), metadata.mtime_nsec());
        let node = Node { kind, mode: metadata.mode() & 0o7777, mtime, same_as: first.clone() };
        self.tree.insert(path.into(), node);
    }
}

/// Short ones as they are, longer ones as a length and a hash.
fn content(content: &[u8]) -> String {
    if content.len() < 100 {
        return format!("file \"{}\"", content.escape_ascii());
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    format!("file of {} bytes, {:x}", content.len(), hasher.finish())
}

/// Paths and types, one a line.
pub(crate) fn listing(tree: &Tree) -> String {
    let line = |(path, node): (&PathBuf, &Node)| {
        let path = path.as_os_str().as_bytes().escape_ascii();
        format!("{path} {}\n", node.kind)
    };
    tree.iter().skip(1).map(line).collect()
}

/// Whether an overlay shows nothing of lower layers in a directory.
pub(crate) fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(path, "user.overlay.opaque", &mut value[..]);
    length.is_ok_and(|length| value[..length] == *b"y")
}

/// Unpacks with GNU tar, as root.
fn with_gnu_tar(archive: &[u8]) -> (TempDir, Tree) {
    let folder = TempDir::new().unwrap();
    let mut tar = Command::new("sh")
        .args(["-c", "umask 022; exec tar -xf - "])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(archive).unwrap();
    assert!(tar.wait().unwrap().success());
    let mut tree = tree(folder.path());
    for node in tree.values_mut() {
        node.mode &= 0o1777;
    }
    (folder, tree)
}

/// Everything of both trees, but for the root, and the times of what does not keep its own.
#[track_caller]
pub(crate) fn same(archive: &[u8], keeps_its_time: impl Fn(&Path) -> bool) {
    let (_folder, mut gnu) = with_gnu_tar(archive);
    let (_room, mut ours) = unpacked(archive);
    for tree in [&mut gnu, &mut ours] {
        tree.remove(Path::new(""));
        for (_, node) in tree.iter_mut().filter(|(path, _)| !keeps_its_time(path)) {
            node.mtime = (0, 0);
        }
    }
    let paths: BTreeSet<_> = gnu.keys().chain(ours.keys()).collect();
    for path in paths {
        assert_eq!(ours.get(path), gnu.get(path), "{path:?}");
    }
}
