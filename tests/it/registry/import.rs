//! Images without a registry: from an archive, a folder, or what another program writes.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use super::{Here, said};
use crate::support::images::{Archive, Image, Packing, busybox};
use crate::support::{BUSYBOX, Engine, host};

/// An image whose layers are not packed, as `docker save` writes them.
fn plain(mark: &str) -> Image {
    let layer = Archive::new().file("mark", 0o644, mark).packed(Packing::Plain);
    Image::new([busybox().packed(Packing::Plain), layer])
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("oncebox-it-import-").tempdir().expect("a folder")
}

/// Imports from a file or folder, and says what was printed.
#[track_caller]
fn import(here: &Here, args: &[&str]) -> String {
    let args = [&["import"], args].concat();
    let (success, text) = said(&here.image_command(&args).output().expect("it runs"));
    assert!(success, "{args:?}: {text}");
    text
}

/// Imports from standard input.
#[track_caller]
fn import_bytes(here: &Here, args: &[&str], bytes: &[u8]) -> (bool, String) {
    let args = [&["import"], args, &["-"]].concat();
    let mut command = here.image_command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // It may have seen enough before the end.
        scope.spawn(move || drop(std::io::Write::write_all(&mut stdin, bytes)));
        said(&child.wait_with_output().expect("a child"))
    })
}

fn a_saved_archive_is_imported(engine: Engine) {
    let here = Here::start(engine, &[], &[]);
    let folder = folder();
    let file = folder.path().join("image.tar");
    fs::write(&file, plain("from a file").docker_archive("some/name:1")).expect("a file");
    let text = import(&here, &[file.to_str().expect("text")]);
    assert!(text.contains("some/name:1"), "{text}");
    assert_eq!(here.prints("some/name:1", "cat /mark"), "from a file");
    let answer = here.runs("some/name:1", "true");
    assert!(answer.0["image_digest"].as_str().is_some_and(|d| d.starts_with("sha256:")));
    // Under another name, and packed as a whole.
    let packed = crate::support::images::gzip(&plain("packed").docker_archive("some/name:2"));
    fs::write(&file, packed).expect("a file");
    import(&here, &["--tag", "other/name:3", file.to_str().expect("text")]);
    assert_eq!(here.prints("other/name:3", "cat /mark"), "packed");
}

fn an_oci_layout_is_imported(engine: Engine) {
    let here = Here::start(engine, &[], &[]);
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let mark = format!("{packing:?}").to_lowercase();
        let layer = Archive::new().file("mark", 0o644, &mark).packed(packing);
        let image = Image::new([busybox(), layer]).oci();
        let name = format!("some/oci:{mark}");
        let archive = image.oci_archive(&name);
        let (success, text) = import_bytes(&here, &[], &archive);
        assert!(success, "{text}");
        let answer = here.runs(&name, "cat /mark");
        assert_eq!(answer.text(), mark);
        assert_eq!(answer.0["image_digest"], image.manifest().digest());
    }
    // The same as a folder.
    let folder = folder();
    let image = plain("from a folder").oci();
    tar::Archive::new(&image.oci_archive("ignored")[..]).unpack(folder.path()).expect("a folder");
    import(&here, &["--tag", "some/folder:1", folder.path().to_str().expect("text")]);
    assert_eq!(here.prints("some/folder:1", "cat /mark"), "from a folder");
}

/// What is no image is refused, and leaves nothing.
fn what_is_no_image_is_not_imported(engine: Engine) {
    let here = Here::start(engine, &[], &[]);
    let good = plain("x").docker_archive("bad/x:1");
    let mut flipped = good.clone();
    // In the middle of the program.
    let middle = flipped.len() / 3;
    flipped[middle] ^= 1;
    let other = Archive::new().file("readme", 0o644, "no image").bytes();
    let mut layout = plain("x").oci().oci_archive("bad/x:2");
    let third = layout.len() / 3;
    layout[third] ^= 1;
    for (what, bytes) in [
        ("nothing", &b""[..]),
        ("no archive", &[b'x'; 5000]),
        ("another archive", &other),
        ("a cut one", &good[..good.len() / 2]),
        ("a spoiled one", &flipped),
        ("a spoiled layout", &layout),
    ] {
        let (success, text) = import_bytes(&here, &[], bytes);
        assert!(!success, "{what}: {text}");
        assert!(!text.contains("panicked"), "{what}: {text}");
    }
    let problem = here.refuse(&json!({"image": "bad/x:1", "script": "x", "pull_policy": "never"}));
    assert_eq!(problem.code(), "image_not_found", "{}", problem.0);
    for folder in ["blobs", "leases", "tmp"] {
        let left = super::files(&here.store().join(folder));
        assert!(left.is_empty(), "{left:#?}");
    }
    // Layers that were whole wait for another attempt, until somebody cleans up.
    let (success, text) = said(&here.image_command(&["prune"]).output().expect("it runs"));
    assert!(success, "{text}");
    let left = super::files(&here.store().join("layers"));
    assert!(left.is_empty(), "{left:#?}");
}

/// An imported image is all that a service needs: it is what scripts run in that name none.
fn an_imported_image_is_a_base(engine: Engine) {
    let first = Here::start(engine, &[], &[]);
    let (success, text) = import_bytes(&first, &[], &plain("base").docker_archive("base/x:1"));
    assert!(success, "{text}");
    let here = Here::on(&first.images, &[("BASE_IMAGE", "base/x:1"), ("POOL_SIZE", "2")]);
    behaves(&here);
}

/// A handful of what the conformance list says, in the base image.
fn behaves(here: &Here) {
    let run = |request| here.run(&request);
    assert_eq!(run(json!({"script": "echo out; echo err >&2; exit 3"})).exit_code(), 3);
    assert_eq!(run(json!({"script": "cat", "stdin": "in"})).text(), "in");
    assert_eq!(
        run(json!({"script": "echo \"$1 $A\"", "args": ["x"], "env": {"A": "y"}})).text(),
        "x y\n"
    );
    let files = json!([{"path": "a/in", "content": "content"}]);
    let answer =
        run(json!({"script": "cat a/in; echo made >out", "files": files, "outputs": ["out"]}));
    assert_eq!(answer.text(), "content");
    assert_eq!(answer.0["files"][0]["content"], "made\n", "{}", answer.0);
    assert_eq!(run(json!({"script": "sleep 60", "timeout": 0.3})).status(), "timed_out");
    assert_eq!(run(json!({"script": "kill -9 $$"})).signal(), Some("SIGKILL"));
    let greedy = "head -c 200000000 /dev/zero | tail | wc -c";
    let answer = run(json!({"script": greedy, "memory_limit": "64m"}));
    assert_eq!(answer.status(), "out_of_memory", "{}", answer.0);
    let script = "touch /x /bin/x /etc/x 2>/dev/null || echo read-only; id -u; ls /sys/class/net \
                  2>/dev/null; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status";
    assert_eq!(
        run(json!({"script": script})).text(),
        "read-only\n1000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n\
         Seccomp:\t2\n"
    );
    let fill = "head -c 20000000 /dev/zero >/tmp/x; echo $?";
    let answer = run(json!({"script": fill, "tmp_size": "4m"}));
    assert_eq!((answer.text().as_str(), answer.limits_hit()), ("1\n", vec!["tmp"]), "{}", answer.0);
}

/// What a Docker engine has, without a registry between: `docker save | oncebox image import -`.
#[test]
fn docker_saves_what_native_runs() {
    let _turn = crate::support::turn::together();
    let here = Here::start(Engine::Native, &[], &[]);
    let mut save = Command::new("docker");
    save.args(["save", BUSYBOX]).stdout(Stdio::piped());
    let mut save = save.spawn().expect("docker runs");
    let mut command = here.image_command(&["import", "-"]);
    command.stdin(save.stdout.take().expect("a pipe"));
    let (success, text) = said(&command.output().expect("it runs"));
    assert!(save.wait().expect("a child").success() && success, "{text}");
    assert!(text.contains(BUSYBOX), "{text}");
    let request =
        json!({"image": BUSYBOX, "script": "busybox | head -n 1", "pull_policy": "never"});
    let printed = here.run(&request).text();
    let wanted = host::docker(&["run", "--rm", "--network", "none", BUSYBOX, "busybox"]);
    assert_eq!(printed.trim_end(), wanted[0]);
}

on_both_engines! {
    together: ;
    native: a_saved_archive_is_imported, an_oci_layout_is_imported,
        what_is_no_image_is_not_imported, an_imported_image_is_a_base
}
