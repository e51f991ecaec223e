//! The process that unpacks layers, as the service starts it: confined before it reads.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::until;

/// Somebody without rights.
const NOBODY: u32 = 65534;

/// A started process, its folder, and a file beside that.
struct Unpacking {
    outside: TempDir,
    process: Child,
}

impl Unpacking {
    fn start(owner: u32) -> Self {
        let outside = TempDir::new().unwrap();
        fs::write(outside.path().join("canary"), "alive").unwrap();
        let folder = outside.path().join("layer");
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(owner), Some(owner)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_oncebox"))
            .args(["unpacker", "10000000", "1000"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::open(&folder).unwrap())
            .uid(owner)
            .gid(owner)
            .spawn()
            .unwrap();
        Self { outside, process }
    }

    fn layer(&self) -> std::path::PathBuf {
        self.outside.path().join("layer")
    }

    /// Gives it this layer, and reads what it reports.
    fn finish(&mut self, layer: &[u8]) -> Value {
        // It may end before it has read everything.
        let _ = self.process.stdin.take().unwrap().write_all(layer);
        let mut report = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert!(self.process.wait().unwrap().success(), "{report}");
        serde_json::from_str(&report).unwrap_or_else(|_| panic!("no report: {report:?}"))
    }

    fn status(&self, key: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.map(|value| value.trim().to_owned())
    }

    fn wait_until_confined(&self) {
        until("the system call filter", Duration::from_secs(20), || {
            (self.status("Seccomp")? == "2").then_some(())
        });
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What GNU tar makes of a folder.
fn archive(folder: &Path) -> Vec<u8> {
    let tar = Command::new("tar").args(["-cf", "-", "."]).current_dir(folder).output().unwrap();
    assert!(tar.status.success());
    tar.stdout
}

/// A line for every file: path, type, mode, and content or target.
fn listing(folder: &Path) -> String {
    let find = "find . -printf '%p %y %m %l\\n' | LC_ALL=C sort; \
                find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
    let listed = Command::new("sh").args(["-c", find]).current_dir(folder).output().unwrap();
    assert!(listed.status.success());
    String::from_utf8(listed.stdout).unwrap()
}

fn sample() -> TempDir {
    let sample = TempDir::new().unwrap();
    let script = "umask 022; mkdir -p usr/lib ro/deep locked; echo x > usr/lib/x; ln -s usr/lib lib; \
                  ln usr/lib/x hard; echo y > ro/deep/y; chmod 555 ro/deep ro; chmod 0 locked; \
                  head -c 3000000 /dev/urandom > big; chmod 400 big; mkfifo fifo; chmod 755 .";
    let made = Command::new("sh").args(["-ec", script]).current_dir(sample.path()).status();
    assert!(made.unwrap().success());
    sample
}

/// Without rights of any kind, read-only directories and all.
#[test]
fn a_layer_is_the_same_as_gnu_tar_s() {
    let _turn = crate::support::turn::together();
    let sample = sample();
    let plain = archive(sample.path());
    let id = Sha256::digest(&plain).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for owner in [NOBODY, 0] {
        for compress in ["cat", "gzip", "zstd"] {
            let mut pressed = Command::new(compress)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut to, data) = (pressed.stdin.take().unwrap(), plain.clone());
            let feeding = std::thread::spawn(move || to.write_all(&data).unwrap());
            let layer = pressed.wait_with_output().unwrap().stdout;
            feeding.join().unwrap();
            let mut unpacking = Unpacking::start(owner);
            let report = unpacking.finish(&layer);
            assert_eq!(report["whole"]["id"], format!("sha256:{id}"), "{compress}: {report}");
            assert_eq!(listing(&unpacking.layer()), listing(sample.path()), "{compress}");
            let mut find = Command::new("find");
            find.arg(unpacking.layer()).args(["!", "-uid", &owner.to_string()]);
            let foreign = find.output().unwrap();
            assert_eq!(String::from_utf8_lossy(&foreign.stdout), "");
        }
    }
}

/// Marks need no right either.
#[test]
fn whiteouts_are_made_without_rights() {
    let _turn = crate::support::turn::together();
    let sample = TempDir::new().unwrap();
    for name in [".wh.gone", "opaque/.wh..wh..opq", "dev/null", "dir/.wh.dir"] {
        let path = sample.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let mut unpacking = Unpacking::start(NOBODY);
    let report = unpacking.finish(&archive(sample.path()));
    assert!(report["whole"].is_object(), "{report}");
    for gone in ["gone", "dir/dir"] {
        let metadata = fs::symlink_metadata(unpacking.layer().join(gone)).unwrap();
        assert_eq!((metadata.mode() & 0o170_000, metadata.rdev()), (0o020_000, 0), "{gone}");
    }
    let opaque = unpacking.layer().join("opaque");
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(&opaque, "user.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"y");
    assert!(!unpacking.layer().join("dev/null").exists());
}

/// What it can reach while it reads: nothing but its folder.
#[test]
fn it_sees_nothing_but_its_folder() {
    let _turn = crate::support::turn::together();
    for owner in [NOBODY, 0] {
        // A caller that forgets a descriptor must not matter.
        let forgotten = File::open("/").unwrap();
        rustix::io::fcntl_setfd(&forgotten, rustix::io::FdFlags::empty()).unwrap();
        let mut unpacking = Unpacking::start(owner);
        drop(forgotten);
        unpacking.wait_until_confined();
        for none in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(unpacking.status(none).unwrap(), "0000000000000000", "{none}");
        }
        assert_eq!(unpacking.status("NoNewPrivs").unwrap(), "1");
        assert_eq!(unpacking.status("Groups").unwrap(), "");
        let process = format!("/proc/{}", unpacking.process.id());
        for namespace in ["user", "mnt", "net", "ipc", "uts", "cgroup"] {
            let of = |process: &str| fs::read_link(format!("{process}/ns/{namespace}")).unwrap();
            assert_ne!(of(&process), of("/proc/self"), "{namespace}");
        }
        let mounts = fs::read_to_string(format!("{process}/mounts")).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        // A descriptor from before would lead out of its root.
        let root = fs::metadata(format!("{process}/root/")).unwrap().ino();
        assert_eq!(root, fs::metadata(unpacking.layer()).unwrap().ino());
        for fd in fs::read_dir(format!("{process}/fd")).unwrap() {
            let fd = fd.unwrap().path();
            let leads_to = fs::read_link(&fd).unwrap().to_string_lossy().into_owned();
            assert!(leads_to == "/" || leads_to.starts_with("pipe:"), "{fd:?} is {leads_to}");
            let up = fs::metadata(fd.join("..")).map(|up| up.ino());
            assert!(leads_to != "/" || up.unwrap() == root, "{fd:?} leads up");
        }
        unpacking.finish(b"");
    }
}

/// What it refuses, it says, and the outside is as it was.
#[test]
fn what_it_refuses_it_says() {
    let _turn = crate::support::turn::together();
    let header = |name: &str, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let mut unpacking = Unpacking::start(NOBODY);
    let report = unpacking.finish(&header("../canary", 0));
    assert_eq!(report["unsupported"], "\"../canary\" leads out of the layer");
    assert_eq!(fs::read_to_string(unpacking.outside.path().join("canary")).unwrap(), "alive");
    let mut unpacking = Unpacking::start(NOBODY);
    assert!(unpacking.finish(&[1; 10_000])["corrupt"].is_string());
    let mut unpacking = Unpacking::start(NOBODY);
    let report = unpacking.finish(&[header("large", 20_000_000), vec![0; 20_000_000]].concat());
    assert!(report["too_large"].is_string(), "{report}");
    assert!(fs::metadata(unpacking.layer().join("large")).unwrap().len() < 10_000_000);
}

/// Without a folder of its own it unpacks nothing at all.
#[test]
fn it_fails_closed() {
    let _turn = crate::support::turn::together();
    let output = Command::new(env!("CARGO_BIN_EXE_oncebox"))
        .args(["unpacker", "1000", "1000"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["failed"].is_string(), "{report}");
}

/// It does not outlive whoever started it, even while that still holds its layer open.
#[test]
fn it_ends_with_its_caller() {
    let _turn = crate::support::turn::together();
    let mut unpacking = Unpacking::start(NOBODY);
    unpacking.wait_until_confined();
    drop(unpacking.process.stdout.take());
    until("the process to end", Duration::from_secs(20), || unpacking.process.try_wait().unwrap());
}
