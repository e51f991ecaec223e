//! Images made in memory, entry by entry: an honest builder would refuse half of them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::Registry;
use super::service::client;

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
    pub fn pax(mut self, records: &[(&str, &str)], path: &str, content: &[u8]) -> Self {
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
        self.append(&header(EntryType::Regular, path, 0o644, "", content.len()), content);
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
    digest: String,
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

/// What an image's parts are called: Docker's words, or the Open Container Initiative's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Docker,
    Oci,
}

impl Format {
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    pub fn index(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::Oci => "application/vnd.oci.image.index.v1+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            Self::Oci => "application/vnd.oci.image.config.v1+json",
        }
    }

    fn layer(self, packing: Packing) -> String {
        match (self, packing) {
            (Self::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar".into(),
            (Self::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip".into(),
            (Self::Oci, packing) => {
                let suffix = match packing {
                    Packing::Plain => "",
                    Packing::Gzip => "+gzip",
                    Packing::Zstd => "+zstd",
                };
                format!("application/vnd.oci.image.layer.v1.tar{suffix}")
            }
        }
    }
}

/// A manifest or an index, ready to be put.
#[derive(Clone)]
pub struct Document {
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
}

impl Document {
    pub fn new(media_type: &'static str, content: &Value) -> Self {
        Self { media_type, bytes: content.to_string().into_bytes() }
    }

    pub fn digest(&self) -> String {
        digest(&self.bytes)
    }

    /// How another document refers to it.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }

    /// An index with one entry for each document and its platform's architecture.
    pub fn index(format: Format, entries: &[(&Self, &str)]) -> Self {
        let manifests: Vec<Value> = entries
            .iter()
            .map(|(document, architecture)| {
                let mut entry = document.descriptor();
                entry["platform"] = json!({"os": "linux", "architecture": architecture});
                entry
            })
            .collect();
        let content = json!({
            "schemaVersion": 2, "mediaType": format.index(), "manifests": manifests,
        });
        Self::new(format.index(), &content)
    }

    /// Puts it at a registry under a tag or its digest.
    pub fn push(&self, registry: &Registry, repository: &str, under: &str) {
        let url = format!("http://{}/v2/{repository}/manifests/{under}", registry.address());
        let put = client().build().expect("a client").put(url);
        let put = put.header("content-type", self.media_type).body(self.bytes.clone());
        let answer = put.send().expect("an answer");
        assert_eq!(answer.status(), 201, "{}", answer.text().expect("text"));
    }
}

/// An image: layers, the lowest first, and what the image says of itself.
#[derive(Clone)]
pub struct Image {
    pub format: Format,
    pub layers: Vec<Layer>,
    pub config: Value,
}

impl Image {
    pub fn new(layers: impl Into<Vec<Layer>>) -> Self {
        Self { format: Format::Docker, layers: layers.into(), config: json!({}) }
    }

    /// A shell, and one file `/mark` that makes it another image than any other.
    pub fn marked(mark: &str) -> Self {
        Self::new([busybox(), Archive::new().file("mark", 0o644, mark).layer()])
    }

    pub fn oci(self) -> Self {
        Self { format: Format::Oci, ..self }
    }

    /// With these words of its own: `Env`, `User`, `Cmd` and so on.
    pub fn saying(self, config: Value) -> Self {
        Self { config, ..self }
    }

    pub fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The image's configuration, as it is stored.
    pub fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<&str> = self.layers.iter().map(|l| l.diff_id.as_str()).collect();
        let history: Vec<Value> = (0..diff_ids.len())
            .map(|n| json!({"created": "2024-05-06T07:08:09Z", "created_by": format!("step {n}")}))
            .collect();
        json!({
            "architecture": architecture(), "os": "linux", "created": "2024-05-06T07:08:09Z",
            "config": self.config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        })
        .to_string()
        .into_bytes()
    }

    pub fn manifest(&self) -> Document {
        let config = self.config();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| {
                json!({"mediaType": self.format.layer(layer.packing), "digest": layer.digest(),
                       "size": layer.blob.len()})
            })
            .collect();
        let content = json!({
            "schemaVersion": 2, "mediaType": self.format.manifest(),
            "config": {"mediaType": self.format.config(), "digest": digest(&config),
                       "size": config.len()},
            "layers": layers,
        });
        Document::new(self.format.manifest(), &content)
    }

    /// Its configuration and its layers by their digests, each once.
    pub fn blobs(&self) -> BTreeMap<String, Vec<u8>> {
        let config = self.config();
        let layers = self.layers.iter().map(|layer| (layer.digest(), &layer.blob));
        let layers: BTreeMap<_, _> = layers.collect();
        let layers = layers.into_iter().map(|(digest, blob)| (digest, blob.clone()));
        std::iter::once((digest(&config), config)).chain(layers).collect()
    }

    /// Pushes it, and says under which digest it is there now.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> String {
        for (digest, bytes) in self.blobs() {
            push_blob(registry, repository, &digest, bytes);
        }
        self.manifest().push(registry, repository, tag);
        self.manifest().digest()
    }

    /// As `docker save` writes it.
    pub fn docker_archive(&self, name: &str) -> Vec<u8> {
        let config = self.config();
        let config_name = format!("{}.json", hex(&config));
        let mut archive = Archive::new().file(&config_name, 0o644, &config);
        let mut layers = Vec::new();
        for layer in &self.layers {
            assert_eq!(layer.packing, Packing::Plain, "docker save does not compress");
            let hex = layer.digest.strip_prefix("sha256:").expect("a digest");
            let file = format!("{hex}/layer.tar");
            if !layers.contains(&file) {
                archive = archive.file(&file, 0o644, &layer.blob);
            }
            layers.push(file);
        }
        let manifest = json!([{"Config": config_name, "RepoTags": [name], "Layers": layers}]);
        archive.file("manifest.json", 0o644, manifest.to_string()).bytes()
    }

    /// An OCI image layout in an archive.
    pub fn oci_archive(&self, name: &str) -> Vec<u8> {
        let manifest = self.manifest();
        let mut entry = manifest.descriptor();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        let mut archive = Archive::new()
            .file("oci-layout", 0o644, r#"{"imageLayoutVersion": "1.0.0"}"#)
            .file("index.json", 0o644, index.to_string());
        let mut blobs = self.blobs();
        blobs.insert(manifest.digest(), manifest.bytes);
        for (digest, bytes) in blobs {
            archive = archive.file(format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes);
        }
        archive.bytes()
    }
}

/// Puts one blob at a registry, in one piece.
pub fn push_blob(registry: &Registry, repository: &str, digest: &str, bytes: Vec<u8>) {
    let client = client().build().expect("a client");
    let url = format!("http://{}/v2/{repository}/blobs/uploads/", registry.address());
    let begun = client.post(url).send().expect("an answer");
    assert_eq!(begun.status(), 202, "{}", begun.text().expect("text"));
    let place = begun.headers()["location"].to_str().expect("a place to put it").to_owned();
    let put = client.put(format!("{place}&digest={digest}"));
    let done = put.header("content-type", "application/octet-stream").body(bytes).send();
    let done = done.expect("an answer");
    assert_eq!(done.status(), 201, "{}", done.text().expect("text"));
}

/// A root of one static busybox, its commands, and the folders that any root has.
pub fn busybox() -> Layer {
    static BASE: OnceLock<Layer> = OnceLock::new();
    BASE.get_or_init(|| {
        let program = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox"));
        let program = program.expect("busybox-static; tests/run installs it");
        let commands = Command::new("busybox").arg("--list").output().expect("busybox runs").stdout;
        let mut archive = Archive::new();
        for folder in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "var"] {
            archive = archive.dir(folder, 0o755);
        }
        archive = archive.dir("tmp", 0o1777).file("bin/busybox", 0o755, program);
        archive = archive.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n").file(
            "etc/group",
            0o644,
            "root:x:0:\n",
        );
        for command in String::from_utf8(commands).expect("names").lines() {
            if command != "busybox" {
                archive = archive.symlink(&format!("bin/{command}"), "busybox");
            }
        }
        archive.layer()
    })
    .clone()
}

/// This machine's, in the words of images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
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
