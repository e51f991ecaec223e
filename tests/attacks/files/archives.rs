//! Archives (F07, F08). A request takes none: what looks like one is a file like any other. Images
//! come as archives, from a registry (rows G08 and G09) or by `oncebox image import`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tar::EntryType;

use super::send;
use crate::stage::Stage;
use crate::support::images::{Archive, gzip, header, through};
use crate::support::service::oncebox;
use crate::support::{Engine, Raw};

/// A file or an answer takes no longer than this, beyond what it takes to run a script.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Archives whose entries would do harm, if anybody unpacked them.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let new = Archive::new;
    vec![
        ("dots.tar", new().file("../../tmp/out", 0o644, "out").bytes()),
        ("absolute.tar", new().file("/tmp/out", 0o644, "out").bytes()),
        ("link.tar", new().symlink("out", "/tmp").file("out/out", 0o644, "out").bytes()),
        ("hard.tar", new().link("out", "/etc/passwd").bytes()),
        ("fifo.tar", new().fifo("out", 0o666).bytes()),
        ("device.tar", new().entry(EntryType::Char, "out", 0o666, "", b"").bytes()),
        ("setuid.tar", new().file("out", 0o6755, "out").bytes()),
        ("case.tar", new().file("OUT", 0o644, "1").file("out", 0o644, "2").bytes()),
        ("pax.tar", new().pax(&[("size", "1000000000")], "out", b"small").bytes()),
    ]
}

fn f07_an_archive_is_a_file(engine: Engine) {
    let stage = Stage::get(engine);
    // All that there is, and whether it is what was sent.
    let script =
        "find /tmp /dev/shm -mindepth 1 | LC_ALL=C sort; sha256sum <\"$(ls | grep -v script.sh)\"";
    stage.clean_after(|service| {
        for (name, bytes) in hostile() {
            let digest = crate::support::images::digest(&bytes);
            let hash = digest.strip_prefix("sha256:").expect("a digest");
            let mut listed = [format!("/tmp/work/{name}"), "/tmp/work/script.sh".to_owned()];
            listed.sort_unstable();
            let expected = format!("/tmp/work\n{}\n{hash}  -\n", listed.join("\n"));
            for reply in send(service, script, name, &bytes) {
                assert_eq!(reply.ran().text(), expected, "{name}");
            }
        }
    });
}

fn f08_a_bomb_is_a_file(engine: Engine) {
    let bombs =
        [("bomb.gz", gzip(&vec![0; 64 << 20])), ("bomb.zip", overlapping()), ("many.tar", many())];
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        for (name, bytes) in &bombs {
            assert!(bytes.len() < 700_000, "{name} has {} bytes", bytes.len());
            let script = format!("wc -c <{name}");
            for reply in send(service, &script, name, bytes) {
                assert_eq!(reply.ran().text(), format!("{}\n", bytes.len()), "{name}");
            }
        }
        // As the body itself it is refused before anybody would unpack it.
        let body = gzip(format!("{{\"script\":\"{}\"}}", " ".repeat(64 << 20)).as_bytes());
        for kind in ["application/json", "multipart/form-data; boundary=b"] {
            let began = Instant::now();
            let head = format!(
                "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Encoding: gzip\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            let answer = Raw::to(service).say([head.as_bytes(), &body].concat()).answer();
            assert_eq!(answer.status, 415, "{kind}");
            assert_eq!(answer.refused().code(), "unsupported_media_type");
            assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        }
    });
}

/// Entries that all name the same packed bytes, as in a zip bomb without nesting.
fn overlapping() -> Vec<u8> {
    let mut zip = b"PK\x03\x04".to_vec();
    zip.extend(gzip(&vec![0; 16 << 20]));
    (0..5000_u32)
        .for_each(|n| zip.extend([b"PK\x01\x02".as_slice(), &n.to_le_bytes(), &[0; 38]].concat()));
    zip
}

/// A hundred thousand entries.
fn many() -> Vec<u8> {
    let mut entry = Archive::new().file("f", 0o644, "").bytes();
    entry.truncate(512);
    through("gzip", &["-9", "-c"], &entry.repeat(100_000))
}

/// `oncebox image import` of this archive into a store of its own, and what it said.
fn import(archive: &[u8]) -> (bool, String) {
    let store = tempfile::Builder::new().prefix("oncebox-it-store-").tempdir().expect("a folder");
    let mut command = oncebox("image", Engine::Native);
    command.env("IMAGE_STORE", store.path()).env("MAX_IMAGE_SIZE", "8m");
    command.args(["import", "--tag", "bad/x:1", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        // It may have seen enough before the end.
        scope.spawn(move || drop(stdin.write_all(archive)));
        child.wait_with_output().expect("a child")
    });
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    let find =
        Command::new("find").arg(store.path()).args(["-mindepth", "2", "-type", "f"]).output();
    let left = String::from_utf8(find.expect("it runs").stdout).expect("text");
    assert_eq!(left, "", "{said}");
    (output.status.success(), said)
}

/// The index of an image whose parts are in these members.
fn index(config: &str, layers: &[&str]) -> String {
    json!([{"Config": config, "RepoTags": ["bad/x:1"], "Layers": layers}]).to_string()
}

/// An image's archive is read by the names in it and never unpacked, so that none leads anywhere.
#[test]
fn f07_an_image_s_archive_leads_nowhere() {
    let _turn = crate::support::turn::together();
    let folder = tempfile::Builder::new().prefix("oncebox-it-canary-").tempdir().expect("a folder");
    let canary = folder.path().join("canary");
    // What would be a good configuration, if it were taken from here.
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    fs::write(&canary, config.to_string()).expect("a file");
    let outside = canary.to_str().expect("text");
    let up = format!("{}{outside}", "../".repeat(20));
    let new = Archive::new;
    for (what, archive) in [
        ("an absolute name", new().file("manifest.json", 0o644, index(outside, &[]))),
        ("dots", new().file("manifest.json", 0o644, index(&up, &[]))),
        (
            "a link",
            new().symlink("c.json", outside).file("manifest.json", 0o644, index("c.json", &[])),
        ),
        (
            "a hard link",
            new().link("c.json", outside).file("manifest.json", 0o644, index("c.json", &[])),
        ),
        ("an index by a link", new().symlink("manifest.json", outside)),
        ("a fifo", new().fifo("manifest.json", 0o666)),
        ("a device", new().entry(EntryType::Char, "manifest.json", 0o666, "", b"")),
        ("a folder", new().dir("manifest.json", 0o777)),
        ("a file over a link", {
            new().symlink("manifest.json", outside).file("manifest.json", 0o644, "[]")
        }),
        ("size lies", new().pax(&[("size", "1000000000")], "manifest.json", b"[]")),
    ] {
        let (success, said) = import(&archive.bytes());
        assert!(!success, "{what}: {said}");
    }
    assert_eq!(fs::read_to_string(&canary).expect("a file"), config.to_string());
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

/// One that never ends is given up on the way.
#[test]
fn f08_an_image_s_archive_has_an_end() {
    let _turn = crate::support::turn::together();
    let zeros = gzip(&vec![0; 16 << 20]);
    let large = header(EntryType::Regular, "large", 0o644, "", 4 << 30);
    let large = [gzip(large.as_bytes()), zeros.repeat(256)].concat();
    let nested = gzip(&gzip(&gzip(&vec![0; 64 << 20])));
    for (what, archive) in [("4 GiB of zeros", large), ("nested", nested), ("many entries", many())]
    {
        let began = Instant::now();
        let (success, said) = import(&archive);
        assert!(!success, "{what}: {said}");
        assert!(began.elapsed() < AT_ONCE * 5, "{what}: after {:?}", began.elapsed());
    }
}

on_both_engines! { together: f07_an_archive_is_a_file, f08_a_bomb_is_a_file }
