//! Images made to do harm: archives that lead out or never end, and configurations that ask for
//! everything.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tar::EntryType;
use tempfile::TempDir;

use super::{Here, files, verdict};
use crate::support::images::{
    Archive, Image, Layer, Packing, busybox, digest, gzip, header, through,
};
use crate::support::registry::Registry;
use crate::support::{Engine, host, until};

const MIB: u64 = 1 << 20;

/// A layer of one file of 4 GiB of zeros: packed pieces may follow each other (RFC 1952, RFC 8878).
fn bomb(packing: Packing) -> Layer {
    const PIECE: usize = 16 << 20;
    let head = header(EntryType::Regular, "zeros", 0o644, "", 4 << 30);
    let zeros = vec![0; PIECE];
    let pack = |bytes: &[u8]| match packing {
        Packing::Gzip => gzip(bytes),
        _ => through("zstd", &["-q", "-c"], bytes),
    };
    let mut blob = pack(head.as_bytes());
    let piece = pack(&zeros);
    (0..(4_usize << 30) / PIECE).for_each(|_| blob.extend_from_slice(&piece));
    // Nobody comes so far as to find out that it is wrong.
    Layer::claiming(digest(b"4 GiB of zeros"), packing, blob)
}

/// A layer of a million entries, packed small.
fn many_entries() -> Layer {
    const PIECE: usize = 1000;
    let piece = |first: usize| {
        let archive = (first..first + PIECE)
            .fold(Archive::new(), |archive, n| archive.file(format!("f{n}"), 0o644, ""));
        let mut bytes = archive.bytes();
        bytes.truncate(PIECE * 512);
        gzip(&bytes)
    };
    // The same thousand names again and again: they count as often as they come.
    let piece = piece(0);
    let mut blob = Vec::new();
    (0..1_000_000 / PIECE).for_each(|_| blob.extend_from_slice(&piece));
    Layer::claiming(digest(b"a million entries"), Packing::Gzip, blob)
}

/// Bytes of everything beneath a folder; what goes away meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let blocks = |file: &std::path::PathBuf| fs::symlink_metadata(file).map_or(0, |m| m.blocks());
    files(folder).iter().map(blocks).sum::<u64>() * 512
}

/// What unpacks to more than an image may is given up on the way, and leaves nothing.
fn g08_bombs_are_stopped(engine: Engine) {
    const CAP: u64 = 8 * MIB;
    let registry = Registry::start();
    let oci = |layer: Layer| Image::new([busybox(), layer]).oci();
    oci(bomb(Packing::Gzip)).push(&registry, "x", "gzip");
    oci(bomb(Packing::Zstd)).push(&registry, "x", "zstd");
    oci(many_entries()).push(&registry, "x", "entries");
    let settings = [("MAX_IMAGE_SIZE", "8m"), ("CUSTOM_IMAGE_PULL_TIMEOUT", "60")];
    let here = Here::start(engine, &[&registry.address()], &settings);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let peak = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::SeqCst) {
                peak = peak.max(size(here.store()));
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        for tag in ["gzip", "zstd", "entries"] {
            let (problem, took) = here.fails_in(&registry.name(&format!("x:{tag}")));
            let expected = ("image_unsupported".into(), 422, 1);
            assert_eq!(verdict(&problem), expected, "{tag}: {}", problem.0);
            assert!(took < Duration::from_secs(20), "{tag}: after {took:?}");
        }
        done.store(true, Ordering::SeqCst);
        let peak = peak.join().expect("no panic");
        // The base is unpacked beside it; a block is what the unpacker reads ahead.
        assert!(peak < 2 * CAP, "{} MiB on disk", peak / MIB);
    });
    until("what came of it to be gone", Duration::from_secs(2), || {
        (size(here.store()) < 4 * MIB).then_some(())
    });
}

/// A manifest of ten thousand layers is refused before one of them is fetched.
fn g08_ten_thousand_layers_are_refused(engine: Engine) {
    let registry = Registry::start();
    let layer = Archive::new().file("x", 0o644, "x").layer();
    Image::new(vec![layer; 10_000]).push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let problem = here.fails(&registry.name("x:1"));
    assert_eq!(verdict(&problem), ("image_unsupported".into(), 422, 1), "{}", problem.0);
    assert_eq!(registry.count("GET", "/blobs/"), 0, "{:#?}", registry.pulls());
}

/// A folder outside of everything, which nobody may change.
struct Canary(TempDir);

impl Canary {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-canary-").tempdir();
        let folder = folder.expect("a folder");
        // Anybody could write here, if only they came here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("its owner");
        fs::write(folder.path().join("file"), "untouched").expect("a file");
        let open = fs::Permissions::from_mode(0o666);
        fs::set_permissions(folder.path().join("file"), open).expect("its owner");
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("text")
    }

    #[track_caller]
    fn sings(&self, after: &str) {
        assert_eq!(files(self.0.path()), [self.0.path().join("file")], "{after}");
        let file = self.0.path().join("file");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "untouched", "{after}");
        let found = fs::metadata(&file).expect("a file");
        assert_eq!((found.permissions().mode() & 0o7777, found.nlink()), (0o666, 1), "{after}");
    }
}

/// Archives that try to lead out, each in its own way.
fn escapes(canary: &str) -> Vec<(&'static str, Archive)> {
    let up = format!("{}{canary}", "../".repeat(20));
    let inner = canary.strip_prefix('/').expect("an absolute path");
    let new = Archive::new;
    let file = |archive: Archive, path: &str| archive.file(path, 0o644, "touched");
    vec![
        ("dots", file(new(), &format!("{up}/dots"))),
        ("dots inside", file(new(), &format!("a/../../../..{canary}/file"))),
        ("absolute", file(new(), &format!("{canary}/absolute"))),
        ("many slashes", file(new(), &format!("//{canary}/slashes"))),
        ("through a link", file(new().symlink("out", canary), "out/through")),
        ("through a relative link", file(new().symlink("out", &up), "out/through")),
        ("through two links", { file(new().symlink("a", "b").symlink("b", canary), "a/through") }),
        ("through a link to the root", {
            file(new().symlink("root", "/"), &format!("root/{inner}/through"))
        }),
        ("over a link", file(new().symlink("file", &format!("{canary}/file")), "file")),
        ("hard link to the host", new().link("file", &format!("{canary}/file"))),
        ("hard link by dots", new().link("file", &format!("{up}/file"))),
        ("hard link through a link", new().symlink("out", canary).link("file", "out/file")),
        ("written through a hard link", {
            file(new().symlink("s", &format!("{canary}/file")).link("h", "s"), "h")
        }),
        ("folder becomes a link", {
            file(new().dir("d", 0o755).symlink("d", canary), "d/through")
        }),
        ("mode through a link", new().symlink("out", canary).dir("out", 0o700)),
        ("mode of a file through a link", {
            let archive = new().symlink("file", &format!("{canary}/file"));
            archive.entry(EntryType::Regular, "file", 0o4777, "", b"")
        }),
        ("whiteout of dots", new().file("a/.wh...", 0o644, "").file(".wh...", 0o644, "")),
        ("whiteout of a dot", new().file("a/.wh..", 0o644, "").file(".wh.", 0o644, "")),
        ("whiteout through a link", new().symlink("out", canary).whiteout("out/file")),
        ("opaque through a link", new().symlink("out", canary).opaque("out")),
        ("whiteout by dots", new().whiteout(&format!("{up}/file"))),
        ("by pax", new().pax(&[("path", &format!("{up}/pax"))], "pax", b"touched")),
        ("link by pax", {
            let archive = new().pax(&[("linkpath", canary)], "out", b"");
            file(archive, "out/through")
        }),
        ("devices", {
            let mut archive = new();
            for kind in [EntryType::Char, EntryType::Block] {
                let name = format!("device-{}", kind.as_byte());
                let mut device = header(kind, name, 0o666, "", 0);
                device.set_device_major(1).expect("a field");
                device.set_device_minor(5).expect("a field");
                device.set_cksum();
                archive.append(&device, b"");
            }
            archive
        }),
        ("rights", {
            new()
                .file("setuid", 0o6755, "x")
                .dir("setgid", 0o2755)
                .pax(&[("SCHILY.xattr.security.capability", CAPABILITY)], "capability", b"x")
                .pax(&[("SCHILY.xattr.user.note", "x")], "note", b"x")
        }),
        ("size lies", new().pax(&[("size", "1000000000")], "large", b"small")),
        ("size of nothing", new().pax(&[("size", "0")], "small", &[b'x'; 2000])),
        ("negative size", new().pax(&[("size", "-1")], "negative", b"x")),
        ("unreadable pax", {
            let mut archive = new();
            archive.append(&header(EntryType::XHeader, "pax", 0o644, "", 9), b"99 path=x");
            file(archive, "after")
        }),
        ("long names", {
            [100, 101, 256, 4096]
                .iter()
                .fold(new(), |archive, length| archive.file("n".repeat(*length), 0o644, "long"))
        }),
        ("deep", file(new(), &format!("{}x", "d/".repeat(5000)))),
        ("nul", file(new(), "a\0b")),
        ("no name", file(new(), "")),
        ("only dots", new().dir("..", 0o777).dir(".", 0o700).dir("/", 0o700)),
        ("over the root", new().symlink(".", canary).symlink("/", canary).file("x", 0o644, "x")),
        ("cut short", {
            let mut archive = new();
            archive.append(&header(EntryType::Regular, "cut", 0o644, "", 1 << 20), b"short");
            archive
        }),
        ("sparse", { new().entry(EntryType::GNUSparse, "sparse", 0o644, "", &[0; 512]) }),
        ("no archive", Archive::raw(b"this is no archive at all".repeat(100))),
    ]
}

/// `cap_setuid+ep`, as the kernel keeps it (capability.h, `vfs_cap_data`), in characters that a
/// test can write: its bytes are all below 128.
const CAPABILITY: &str = "\u{1}\0\0\u{2}\u{40}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Confined or refused: nothing outside changes, and no right comes along.
fn g09_archives_stay_inside(engine: Engine) {
    let canary = Canary::new();
    let registry = Registry::start();
    let cases = escapes(canary.path());
    for (n, (_, archive)) in cases.iter().enumerate() {
        let layer = Layer::of(archive.clone().bytes(), Packing::Gzip);
        Image::new([busybox(), layer]).push(&registry, "x", &n.to_string());
    }
    let settings = [("CUSTOM_IMAGE_PULL_RETRIES", "0"), ("MAX_IMAGE_SIZE", "256m")];
    let here = Here::start(engine, &[&registry.address()], &settings);
    for (n, (what, _)) in cases.iter().enumerate() {
        let image = registry.name(&format!("x:{n}"));
        let reply = here.execute(&json!({"image": image, "script": "echo confined"}));
        match reply.http {
            200 => assert_eq!(reply.ran().text(), "confined\n", "{what}"),
            _ => {
                let problem = reply.refused();
                let codes = ["image_unsupported", "image_corrupt"];
                assert!(codes.contains(&problem.code()), "{what}: {}", problem.0);
            }
        }
        canary.sings(what);
    }
    for path in everything(here.store()) {
        let found = fs::symlink_metadata(&path).expect("it stays");
        let shown = path.display();
        let kind = found.file_type();
        // A character device 0:0 is how an overlay says that a path is gone (overlayfs.rst).
        let gone = kind.is_char_device() && found.rdev() == 0;
        assert!(!kind.is_block_device() && (!kind.is_char_device() || gone), "{shown}");
        if !kind.is_symlink() {
            assert_eq!(found.permissions().mode() & 0o6000, 0, "{shown}");
        }
        assert!(!has_capability(&path), "{shown}");
    }
}

fn has_capability(path: &Path) -> bool {
    let mut buffer = [0_u8; 64];
    rustix::fs::lgetxattr(path, "security.capability", &mut buffer).is_ok()
}

/// Files and folders beneath a folder.
fn everything(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// What an image says of itself does not decide how its scripts run.
fn g14_an_image_s_words_do_not_count(engine: Engine) {
    let registry = Registry::start();
    let passwd = Archive::new().file("etc/passwd", 0o644, "name:x:0:0::/:/bin/sh\n").layer();
    let base = Image::new([busybox(), passwd]);
    let users =
        ["0", "0:0", "4294967296", "99999999999", "-1", "name", "nobody-there", "root:root"];
    let mut cases: Vec<Value> = users.iter().map(|user| json!({"User": user})).collect();
    cases.extend([
        json!({"WorkingDir": "/proc/self/fd/7"}),
        json!({"WorkingDir": "/nowhere/../../x"}),
        json!({"Entrypoint": ["/bin/false"], "Cmd": ["x"]}),
        json!({"Entrypoint": ["/nowhere"], "Shell": ["/nowhere"]}),
        json!({"Env": ["LD_PRELOAD=/x.so", "LD_LIBRARY_PATH=/x", "BASH_ENV=/x", "ENV=/x", "IFS=x"]}),
        json!({"Env": ["PATH=", "HOME=/root", "=x", "novalue", "A=\nB"]}),
        json!({"Volumes": {"/data": {}, "/bin": {}, "/tmp": {}, "/": {}}}),
        json!({"Healthcheck": {"Test": ["CMD-SHELL", "touch /tmp/health"], "Interval": 1_000_000}}),
        json!({"Labels": {"org.oncebox.owner": "x:y:1:1", "org.oncebox": "x"}}),
        json!({"StopSignal": "0"}),
        json!({"StopSignal": "65"}),
        json!({"ExposedPorts": {"80/tcp": {}, "22/udp": {}}}),
        json!({"OnBuild": ["RUN /bin/false"], "Domainname": "x", "Hostname": "x", "Tty": true,
               "OpenStdin": true, "AttachStdin": true, "NetworkDisabled": false}),
    ]);
    for (n, words) in cases.iter().enumerate() {
        base.clone().saying(words.clone()).push(&registry, "x", &n.to_string());
    }
    let here = Here::start(engine, &[&registry.address()], &[]);
    let volumes = || match engine {
        Engine::Native => Vec::new(),
        Engine::Docker => host::docker(&["volume", "ls", "--quiet"]),
    };
    // The guest's own is there once a container has been made.
    here.prints(&registry.name("x:0"), "true");
    let before = volumes();
    let script = "echo \"$(id -u) $PWD $LD_PRELOAD$BASH_ENV$ENV\"; ls /tmp; \
                  grep -c ' /data ' /proc/mounts";
    for (n, words) in cases.iter().enumerate() {
        let reply = here.execute(&json!({
            "image": registry.name(&format!("x:{n}")), "script": script,
        }));
        // What can't be meant may be refused, and then as the image's fault.
        if reply.http != 200 {
            let problem = reply.refused();
            assert_eq!(problem.code(), "image_unsupported", "{words}: {}", problem.0);
            continue;
        }
        let answer = reply.ran();
        let text = answer.text();
        let (uid, rest) = text.split_once(' ').unwrap_or_else(|| panic!("{words}: {}", answer.0));
        assert!(uid.parse::<u32>().is_ok_and(|uid| uid >= 1000), "{words}: {}", answer.0);
        assert_eq!(rest, "/tmp/work \nwork\n0\n", "{words}: {}", answer.0);
    }
    // Other tests' containers come and go, but with no volume of their own.
    let anonymous = |names: Vec<String>| names.into_iter().filter(|name| name.len() == 64).count();
    assert_eq!(anonymous(volumes()), anonymous(before));
}

/// Labels that claim a container for another owner do not save it from being removed.
fn g14_labels_do_not_hide_a_container(engine: Engine) {
    let registry = Registry::start();
    let image = Image::marked(&registry.address());
    let labels = json!({"Labels": {
        "org.oncebox.owner": format!("x:y:{}:1", std::process::id()), "org.oncebox.guest": "x",
    }});
    image.saying(labels).push(&registry, "x", "1");
    let here = Here::start(engine, &[&registry.address()], &[]);
    let name = registry.name("x:1");
    assert_eq!(here.prints(&name, "echo labelled"), "labelled\n");
    let began = Instant::now();
    if engine == Engine::Docker {
        until("its container to be gone", Duration::from_secs(20), || {
            let ancestor = format!("ancestor={name}");
            let left = host::docker(&["ps", "--all", "--quiet", "--filter", &ancestor]);
            left.is_empty().then_some(())
        });
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(here.prints(&name, "echo again"), "again\n");
}

on_both_engines! {
    together: g14_an_image_s_words_do_not_count, g14_labels_do_not_hide_a_container;
    native: g08_bombs_are_stopped, g08_ten_thousand_layers_are_refused, g09_archives_stay_inside
}
