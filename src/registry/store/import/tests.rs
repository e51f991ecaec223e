//! Archives as tools write them, and as nobody should.

use std::fs::File;
use std::io::{Cursor, Seek, Write};

use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::archive::Archive;
use super::tape::Tape;
use super::{Found, Member, Reading, images, spool};
use crate::registry::manifest::architecture;
use crate::registry::store::find::sha256;
use crate::registry::store::tests::{Scene, id};
use crate::registry::store::work::Work;
use crate::registry::{ImageError, ImageErrorKind};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An archive that is being written.
struct Writer(Builder<Vec<u8>>);

impl Writer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, name, content).unwrap();
        self
    }

    /// A name that the tar crate would not write.
    fn raw(mut self, name: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_old();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        let fields = header.as_old_mut();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn archive(self) -> Result<Archive, ImageError> {
        archive(&self.bytes())
    }
}

fn archive(bytes: &[u8]) -> Result<Archive, ImageError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Archive::tar(file)
}

fn config(layers: u8, arch: &str) -> String {
    let ids: Vec<String> = (1..=layers).map(|n| format!("{:?}", id(n))).collect();
    json!({"os": "linux", "architecture": arch, "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
}

fn found(archive: Result<Archive, ImageError>) -> Result<Vec<Found>, ImageError> {
    images(&archive?)
}

fn refusal(archive: Result<Archive, ImageError>) -> ImageError {
    found(archive).err().unwrap()
}

async fn content(member: &Member) -> Result<Vec<u8>, ImageError> {
    let (mut reading, mut content) = (Reading::new(member.clone()), Vec::new());
    while let Some(piece) = reading.next().await? {
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

fn listed(config: &str, tags: Value, layers: &[&str]) -> String {
    json!([{"Config": config, "RepoTags": tags, "Layers": layers}]).to_string()
}

#[tokio::test]
async fn a_docker_archive_as_docker_has_long_written_it() {
    let config = config(3, architecture());
    let long = format!("{}/layer.tar", "f".repeat(150));
    let list = listed(
        "c.json",
        json!(["app:1", "example.com/x/app:2"]),
        &["1/layer.tar", "2/layer.tar", &long],
    );
    let images = found(
        Writer::new()
            .file("c.json", &config)
            .file("1/layer.tar", vec![1; 300_000])
            .raw("2/layer.tar", EntryType::Symlink, "../1/layer.tar", b"")
            .file(&long, "three")
            .file("manifest.json", list)
            .archive(),
    );
    let [image] = <[Found; 1]>::try_from(images.unwrap()).ok().unwrap();
    assert_eq!(image.digest, sha256(config.as_bytes()));
    let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["app:1", "example.com/x/app:2"]);
    assert_eq!(content(&image.layers[0]).await.unwrap(), vec![1; 300_000]);
    assert_eq!(content(&image.layers[1]).await.unwrap(), vec![1; 300_000]);
    assert_eq!(content(&image.layers[2]).await.unwrap(), b"three");
    assert_eq!(image.manifest.layers[2].size, 5);
}

#[tokio::test]
async fn hard_links_and_dots_in_names_are_followed_within() {
    let list = listed("./c.json", Value::Null, &["b"]);
    let images = found(
        Writer::new()
            .file("c.json", config(1, architecture()))
            .raw("./a", EntryType::Regular, "", b"one")
            .raw("b", EntryType::Link, "./a", b"")
            .file("manifest.json", list)
            .archive(),
    );
    let image = &images.unwrap()[0];
    assert_eq!(content(&image.layers[0]).await.unwrap(), b"one");
    assert!(image.names.is_empty());
}

#[rstest]
#[case::out_of_it("../../etc/passwd")]
#[case::absolute("/etc/passwd")]
#[case::missing("x/layer.tar")]
#[case::link_out("out")]
#[case::link_to_root("root")]
#[case::links_in_a_ring("ring")]
#[case::a_folder("folder")]
#[case::nothing("")]
fn no_path_leads_out_of_an_archive(#[case] path: &str) {
    let archive = Writer::new()
        .file("c.json", config(1, architecture()))
        .raw("out", EntryType::Symlink, "../../../../etc/passwd", b"")
        .raw("root", EntryType::Symlink, "/etc/passwd", b"")
        .raw("ring", EntryType::Symlink, "ring", b"")
        .raw("folder", EntryType::Directory, "", b"")
        .raw("../../etc/passwd", EntryType::Regular, "", b"x")
        .raw("/etc/passwd", EntryType::Regular, "", b"x")
        .file("manifest.json", listed("c.json", Value::Null, &[path]))
        .archive();
    let error = refusal(archive);
    assert_eq!(error.kind, ImageErrorKind::Corrupt, "{error}");
    assert!(error.detail.contains("it lacks"), "{error}");
}

#[rstest]
#[case::another_machine(config(1, "vax"), json!(["a"]), 1, "can't be imported")]
#[case::no_configuration("{}".into(), json!(["a"]), 1, "can't be imported")]
#[case::too_many_layers(config(1, architecture()), json!(["a"]), 2, "more layers")]
#[case::too_few_layers(config(2, architecture()), json!(["a"]), 1, "layers")]
#[case::reserved(config(1, architecture()), json!(["host"]), 1, "reserved")]
#[case::no_name(config(1, architecture()), json!(["A b\u{1b}[31m"]), 1, "no image reference")]
#[case::names_of_no_kind(config(1, architecture()), json!([7]), 1, "line 1")]
#[case::long_configuration(" ".repeat(2 << 20), json!(["a"]), 1, "more than")]
fn what_can_not_be_run_is_refused(
    #[case] config: String,
    #[case] tags: Value,
    #[case] layers: usize,
    #[case] said: &str,
) {
    let list = listed("c.json", tags, &vec!["l"; layers]);
    let archive =
        Writer::new().file("c.json", config).file("l", "x").file("manifest.json", list).archive();
    let error = refusal(archive);
    assert!(error.detail.contains(said), "{error}");
    assert!(error.detail.chars().all(|c| !c.is_control()), "{error:?}");
}

#[test]
fn archives_that_are_none_are_refused() {
    for bytes in [&b""[..], b"no archive", &[0; 1024], &[7; 2000]] {
        let error = archive(bytes).err().unwrap();
        assert_eq!(error.kind, ImageErrorKind::Corrupt, "{error}");
    }
    let error = refusal(Writer::new().file("x", "y").archive());
    assert!(error.detail.contains("manifest.json"), "{error}");
    let mut cut = Writer::new().file("manifest.json", "x".repeat(2000)).bytes();
    cut.truncate(1500);
    assert!(archive(&cut).err().unwrap().detail.contains("longer than the archive"));
}

/// The blobs of a layout, in whichever form it is written.
#[derive(Default)]
struct Layout(Vec<(String, Vec<u8>)>);

impl Layout {
    fn blob(&mut self, media_type: &str, content: impl AsRef<[u8]>) -> Value {
        let (content, digest) = (content.as_ref().to_vec(), sha256(content.as_ref()));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": content.len()});
        self.0.push((format!("blobs/sha256/{}", &digest[7..]), content));
        descriptor
    }

    fn manifest(&mut self, arch: &str) -> Value {
        let config = self.blob(OCI_CONFIG, config(1, arch));
        let layer = self.blob(OCI_LAYER, format!("layer for {arch}"));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
        });
        let mut descriptor = self.blob(OCI_MANIFEST, manifest.to_string());
        descriptor["platform"] = json!({"os": "linux", "architecture": arch});
        descriptor
    }

    fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
        self.blob(OCI_INDEX, index.to_string())
    }

    fn finish(&mut self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        self.0.push(("index.json".into(), index.into_bytes()));
        self.0.push(("oci-layout".into(), b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec()));
    }

    fn archive(&self) -> Result<Archive, ImageError> {
        let writer = Writer::new();
        self.0.iter().fold(writer, |writer, (name, content)| writer.file(name, content)).archive()
    }

    fn folder(&self) -> (TempDir, Archive) {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        for (name, content) in &self.0 {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let archive = Archive::Folder(File::open(dir.path()).unwrap().into());
        (dir, archive)
    }
}

#[tokio::test]
async fn an_oci_layout_is_read_for_this_machine_as_archive_and_as_folder() {
    let mut layout = Layout::default();
    let manifests = ["vax", architecture()].map(|arch| layout.manifest(arch));
    let mut index = layout.index(&manifests);
    index["annotations"] = json!({"org.opencontainers.image.ref.name": "example.com/app:1"});
    let foreign = layout.manifest("vax");
    layout.finish(&[foreign, index.clone()]);
    let (_dir, folder) = layout.folder();
    for archive in [layout.archive().unwrap(), folder] {
        let [image] = <[Found; 1]>::try_from(images(&archive).unwrap()).ok().unwrap();
        assert_eq!(image.digest, index["digest"].as_str().unwrap());
        assert_eq!(image.names[0].to_string(), "example.com/app:1");
        let layer = content(&image.layers[0]).await.unwrap();
        assert_eq!(layer, format!("layer for {}", architecture()).as_bytes());
    }
}

#[test]
fn a_layout_for_other_machines_only_is_refused() {
    let mut layout = Layout::default();
    let foreign = layout.manifest("vax");
    layout.finish(&[foreign]);
    let error = refusal(layout.archive());
    assert_eq!(error.kind, ImageErrorKind::Unsupported, "{error}");
}

#[rstest]
#[case::whole(json!({"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"}), Some("app:1"))]
#[case::named(json!({"org.opencontainers.image.ref.name": "team/app"}), Some("team/app:latest"))]
#[case::bare_tag(json!({"org.opencontainers.image.ref.name": "latest"}), None)]
#[case::nothing(json!({}), None)]
fn names_of_a_layout(#[case] annotations: Value, #[case] name: Option<&str>) {
    let mut layout = Layout::default();
    let mut manifest = layout.manifest(architecture());
    manifest["annotations"] = annotations;
    layout.finish(&[manifest]);
    let image = &found(layout.archive()).unwrap()[0];
    let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, name.map_or(vec![], |name| vec![name.to_owned()]));
}

#[tokio::test]
async fn a_blob_that_is_not_its_digest_is_refused() {
    let mut layout = Layout::default();
    let manifest = layout.manifest(architecture());
    layout.finish(&[manifest]);
    for (n, (name, _)) in layout.0.iter().enumerate().filter(|(_, (name, _))| name.contains('/')) {
        let mut broken = Layout(layout.0.clone());
        broken.0[n].1[0] ^= 1;
        let error = match found(broken.archive()) {
            Ok(images) => content(&images[0].layers[0]).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind, ImageErrorKind::Corrupt, "{name}: {error}");
        broken.0[n].1.push(0);
        let longer = found(broken.archive()).err().unwrap();
        assert!(longer.detail.contains("size"), "{name}: {longer}");
    }
}

#[test]
fn links_and_pipes_in_a_folder_lead_nowhere() {
    let mut layout = Layout::default();
    let manifest = layout.manifest(architecture());
    layout.finish(&[manifest]);
    let (dir, archive) = layout.folder();
    let index = dir.path().join("index.json");
    std::fs::rename(&index, dir.path().join("kept")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &index).unwrap();
    assert!(images(&archive).is_err());
    std::fs::remove_file(&index).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &index, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    assert!(images(&archive).err().unwrap().detail.contains("no file"));
    std::fs::remove_file(&index).unwrap();
    std::os::unix::fs::symlink("kept", &index).unwrap();
    assert_eq!(images(&archive).unwrap().len(), 1);
}

#[tokio::test]
async fn compressed_archives_are_read_as_well_up_to_a_size() {
    let plain = Writer::new().file("x", "y".repeat(100_000)).bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd =
        ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    let scene = Scene::new();
    for (n, bytes) in [plain.clone(), gzip.finish().unwrap(), zstd].iter().enumerate() {
        let begin = |update: &mut super::super::catalog::Update| {
            Ok(Work::begin(&update.folder, &[]).unwrap())
        };
        let (work, _) = scene.store.catalog.update(begin).await.unwrap();
        let file = spool::write_down(&bytes[..], &work, 1 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), plain.len() as u64, "{n}");
        assert!(Archive::tar(file).unwrap().find("x").unwrap().is_some());
        let large = spool::write_down(&bytes[..], &work, 50_000).unwrap_err();
        assert!(large.detail.contains("50000"), "{large}");
        work.close().await;
    }
}

fn sample() -> Vec<u8> {
    Writer::new()
        .file("manifest.json", "[]")
        .file(&format!("{}/layer.tar", "f".repeat(150)), "three")
        .raw("2/layer.tar", EntryType::Symlink, "../1/layer.tar", b"")
        .raw("pax", EntryType::XHeader, "", b"29 path=../../somewhere/else\n12 size=512\n")
        .raw("x", EntryType::Regular, "", b"x")
        .bytes()
}

#[test]
fn extended_headers_say_where_and_how_long() {
    let tape = Tape::read(Cursor::new(sample())).unwrap();
    assert!(tape.find("x").is_none() && tape.find("somewhere/else").is_none());
    let bytes = Writer::new()
        .raw("pax", EntryType::XHeader, "", b"14 path=a/b/c\n12 size=600\n")
        .raw("x", EntryType::Regular, "", &[7; 1000])
        .bytes();
    let tape = Tape::read(Cursor::new(bytes)).unwrap();
    assert_eq!(tape.find("a/b/c").unwrap().size, 600);
}

proptest! {
    #[test]
    fn no_bytes_make_the_index_of_an_archive_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = Tape::read(Cursor::new(bytes));
    }

    #[test]
    fn no_damage_makes_the_index_of_an_archive_panic_or_name_what_is_not_there(
        damage in prop::collection::vec((0..5000_usize, any::<u8>()), 1..20),
        mend in any::<bool>(),
    ) {
        let mut bytes = sample();
        let length = bytes.len();
        for (at, byte) in damage {
            bytes[at % length] = byte;
        }
        if mend {
            // Else nearly all damage would end at a checksum.
            for block in bytes.chunks_exact_mut(512) {
                let header = Header::from_byte_slice(block);
                let mut header = header.clone();
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        if let Ok(tape) = Tape::read(Cursor::new(&bytes)) {
            for name in ["manifest.json", "2/layer.tar", "x", "../x", "/x"] {
                if let Some(extent) = tape.find(name) {
                    prop_assert!(extent.offset + extent.size <= length as u64);
                }
            }
        }
    }
}
