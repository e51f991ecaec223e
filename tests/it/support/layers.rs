//! Layers made in memory, entry by entry: an honest archiver would refuse half of them.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// A layer's archive, written exactly as told.
#[derive(Clone, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that need not be one.
    pub fn raw(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn file(self, path: impl AsRef<[u8]>, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, "", content.as_ref())
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, format!("{path}/"), mode, "", &[])
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, target, &[])
    }

    /// A second name of what the archive has under `target`.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, target, &[])
    }

    pub fn fifo(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Fifo, path, mode, "", &[])
    }

    /// Says that a path of a lower layer is gone.
    pub fn whiteout(self, path: &str) -> Self {
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(f, n)| (f, n));
        let separator = if folder.is_empty() { "" } else { "/" };
        self.file(format!("{folder}{separator}.wh.{name}"), 0o644, "")
    }

    /// Says that what lower layers have in a folder is gone.
    pub fn opaque(self, folder: &str) -> Self {
        self.file(format!("{folder}/.wh..wh..opq"), 0o644, "")
    }

    /// Any entry. Names of more than 100 bytes go ahead of it, as GNU tar writes them.
    pub fn entry(
        mut self,
        kind: EntryType,
        path: impl AsRef<[u8]>,
        mode: u32,
        target: &str,
        content: &[u8],
    ) -> Self {
        let path = path.as_ref();
        for (name, marker) in [(target.as_bytes(), b'K'), (path, b'L')] {
            if name.len() > 100 {
                let long = header(EntryType::new(marker), "././@LongLink", 0, "", name.len() + 1);
                self.append(&long, &[name, b"\0"].concat());
            }
        }
        let header = header(kind, path, mode, target, content.len());
        self.append(&header, content);
        self
    }

    /// An entry whose size, name and so on are said by records ahead of it (POSIX pax).
    pub fn pax(self, records: &[(&str, &str)], path: &str, content: &[u8]) -> Self {
        self.pax_mode(records, path, 0o644, content)
    }

    /// The same with a mode of its own.
    pub fn pax_mode(
        mut self,
        records: &[(&str, &str)],
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> Self {
        let mut text = Vec::new();
        for (key, value) in records {
            // Its length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let length =
                (1..).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l);
            let length = length.expect("a length that counts itself");
            text.extend(format!("{length} {key}={value}\n").bytes());
        }
        let ahead = header(EntryType::XHeader, "pax", 0o644, "", text.len());
        self.append(&ahead, &text);
        self.append(&header(EntryType::Regular, path, mode, "", content.len()), content);
        self
    }

    /// A header as it is, and what follows it.
    pub fn append(&mut self, header: &Header, content: &[u8]) {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// The whole archive.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    pub fn layer(self) -> Layer {
        Layer::of(self.bytes(), Packing::Gzip)
    }

    pub fn packed(self, packing: Packing) -> Layer {
        Layer::of(self.bytes(), packing)
    }
}

/// A header whose fields are taken as they are.
pub fn header(
    kind: EntryType,
    path: impl AsRef<[u8]>,
    mode: u32,
    target: &str,
    size: usize,
) -> Header {
    let mut header = Header::new_gnu();
    let fill = |field: &mut [u8; 100], text: &[u8]| {
        let cut = text.len().min(field.len());
        field[..cut].copy_from_slice(&text[..cut]);
    };
    fill(&mut header.as_old_mut().name, path.as_ref());
    fill(&mut header.as_old_mut().linkname, target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

/// How a layer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// A layer as it is stored at a registry.
#[derive(Clone)]
pub struct Layer {
    pub packing: Packing,
    pub blob: Vec<u8>,
    /// `sha256:…` of the blob.
    pub digest: String,
    /// `sha256:…` of the archive.
    pub diff_id: String,
}

impl Layer {
    pub fn of(archive: Vec<u8>, packing: Packing) -> Self {
        let diff_id = digest(&archive);
        let blob = match packing {
            Packing::Plain => archive,
            Packing::Gzip => gzip(&archive),
            Packing::Zstd => through("zstd", &["-q", "-c"], &archive),
        };
        Self::claiming(diff_id, packing, blob)
    }

    /// One whose archive is said to have this digest.
    pub fn claiming(diff_id: String, packing: Packing, blob: Vec<u8>) -> Self {
        Self { packing, digest: digest(&blob), blob, diff_id }
    }

    pub fn digest(&self) -> String {
        self.digest.clone()
    }

    /// Its archive.
    pub fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        match self.packing {
            Packing::Plain => archive.clone_from(&self.blob),
            Packing::Gzip => {
                let mut packed = flate2::read::MultiGzDecoder::new(&self.blob[..]);
                packed.read_to_end(&mut archive).expect("gzip");
            }
            Packing::Zstd => archive = through("zstd", &["-q", "-d", "-c"], &self.blob),
        }
        archive
    }

    /// The same, travelling in another way.
    pub fn packed(&self, packing: Packing) -> Self {
        Self::of(self.archive(), packing)
    }
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).expect("memory");
    packed.finish().expect("memory")
}

/// What a command makes of this.
pub fn through(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let command = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let command = command.stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}; use tests/run"));
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // It may stop reading early; its exit status tells.
        scope.spawn(move || drop(stdin.write_all(input)));
        let output = child.wait_with_output().expect("a child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {}: {said}", output.status);
        output.stdout
    })
}

/// Bytes that no packing makes fewer, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
