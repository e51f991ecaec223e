//! Images in which the places that a container mounts upon are something else (K21).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::Loaded;
use crate::stage::Stage;
use crate::support::Engine;
use crate::support::images::{Archive, Image, Packing, busybox};

/// Places, and whether each is a folder.
const PLACES: &[(&str, bool)] = &[
    ("proc", true),
    ("sys", true),
    ("dev", true),
    ("dev/null", false),
    ("dev/console", false),
    ("dev/pts", true),
    ("tmp", true),
    ("etc/resolv.conf", false),
];

/// A tree outside of everything, in which anybody may write who comes there.
struct Canary(TempDir);

impl Canary {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-it-canary-").tempdir();
        let folder = folder.expect("a folder");
        fs::create_dir_all(folder.path().join("inner")).expect("a folder");
        for file in ["file", "inner/file", "null", "resolv.conf"] {
            fs::write(folder.path().join(file), "canary").expect("a file");
        }
        for path in ["", "file", "inner", "inner/file", "null", "resolv.conf"] {
            let open = fs::Permissions::from_mode(0o777);
            fs::set_permissions(folder.path().join(path), open).expect("its owner");
        }
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("text")
    }

    /// Names, modes and contents.
    fn tree(&self) -> BTreeMap<PathBuf, (u32, Option<String>)> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            let mode =
                |path: &Path| fs::symlink_metadata(path).expect("it stays").permissions().mode();
            tree.insert(folder.clone(), (mode(&folder), None));
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => folders.push(entry.path()),
                    false => {
                        let content = fs::read_to_string(entry.path()).ok();
                        tree.insert(entry.path(), (mode(&entry.path()), content));
                    }
                }
            }
        }
        tree
    }
}

/// Each place as something that it should not be.
fn cases(canary: &str) -> Vec<(String, Archive)> {
    let up = format!("{}{canary}", "../".repeat(20));
    let mut cases = Vec::new();
    for (place, folder) in PLACES {
        let new = || Archive::new();
        let mut case = |what: &str, archive: Archive| {
            cases.push((format!("{place} {what}"), archive));
        };
        let out = if *folder { canary.to_owned() } else { format!("{canary}/file") };
        case("is a link out", new().symlink(place, &out));
        case("is a link up", new().symlink(place, &format!("{up}{}", &out[canary.len()..])));
        let inner = if *folder { "/usr" } else { "/etc/passwd" };
        case("is a link inside", new().dir("usr", 0o777).symlink(place, inner));
        case("is a link to itself", new().symlink(place, &format!("/{place}")));
        match folder {
            true => case("is a file", new().file(place, 0o666, "canary")),
            false => {
                case("is a folder", new().dir(place, 0o777).file(format!("{place}/x"), 0o666, "x"))
            }
        }
        case("is a pipe", new().fifo(place, 0o666));
        // The others are missing as it is.
        if *folder && !place.contains('/') {
            case("is missing", new().whiteout(place));
        }
    }
    cases
}

/// Everything that a container mounts, from inside.
const LOOK: &str = "
for place in / /proc /sys /dev /dev/null /dev/zero /dev/fd /dev/shm /dev/pts /dev/console /tmp /tmp/work /proc/self/fd; do
    echo $place $(stat -c '%F %a %t:%T' $place 2>&1)
done
awk '{print $2, $3, substr($4, 1, 2)}' /proc/mounts | sort
ls -A /dev /tmp
echo lost >/dev/null && head -c 2 /dev/zero | wc -c && cat /dev/null
touch /tmp/x /dev/shm/x && rm /tmp/x /dev/shm/x && [ $(id -u) != 0 ] && echo written
touch /x /etc/x /usr/x /proc/x /sys/x /dev/x 2>/dev/null
grep -c canary /etc/resolv.conf /tmp/* /dev/* 2>/dev/null | grep -v ':0'
exit 0";

fn k21_mount_points_may_be_anything(engine: Engine) {
    let canary = Canary::new();
    let before = canary.tree();
    let base = busybox().packed(Packing::Plain);
    let own = std::process::id();
    let cases = cases(canary.path());
    let mut images = vec![(format!("oncebox-test/places:{own}"), Image::new([base.clone()]))];
    images.extend(cases.iter().enumerate().map(|(n, (_, archive))| {
        let layer = archive.clone().packed(Packing::Plain);
        (format!("oncebox-test/places:{own}-{n}"), Image::new([base.clone(), layer]))
    }));
    let _loaded = Loaded::new(engine, &images);
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        let run = |image: &str| {
            service.execute(&json!({
                "image": image, "script": LOOK, "pull_policy": "never", "timeout": 30, "cpu_limit": 1,
            }))
        };
        let normal = run(&images[0].0).ran().text();
        assert!(normal.contains("\nwritten\n"), "{normal}");
        let (run, normal) = (&run, &normal);
        // As many at once as there are cores to make them.
        std::thread::scope(|scope| {
            for half in 0..2 {
                let cases = cases.iter().zip(&images[1..]).skip(half).step_by(2);
                scope.spawn(move || {
                    for ((what, _), (image, _)) in cases {
                        let reply = run(image);
                        eprintln!("CASE {what} {} {}", reply.http, String::from_utf8_lossy(&reply.body));
                        if reply.http == 200 {
                            let found = reply.ran().text();
                            if &found != normal { eprintln!("DIFF {what}"); }
                        } else {
                            let problem = reply.refused();
                            let said = (problem.http(), problem.code().to_owned());
                            let wanted = (422, "image_unsupported".to_owned());
                            if said != wanted { eprintln!("WRONG {what}: {}", problem.0); }
                        }
                    }
                });
            }
        });
    });
    assert_eq!(canary.tree(), before);
}

on_both_engines! { together: k21_mount_points_may_be_anything }
