//! Images made in memory of such layers, and how they get to a registry.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::Registry;
pub use super::layers::{Archive, Layer, Packing, digest, gzip, header, noise, through};
use super::service::client;

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
        let config_name = format!("{}.json", digest(&config).replace("sha256:", ""));
        let mut archive = Archive::new().file(&config_name, 0o644, &config);
        let mut layers = Vec::new();
        for layer in &self.layers {
            assert_eq!(layer.packing, Packing::Plain, "docker save does not compress");
            let file = format!("{}/layer.tar", layer.digest.replace("sha256:", ""));
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
