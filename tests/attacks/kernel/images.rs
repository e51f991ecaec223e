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

/// Places that an image may have made into something else at once, and whether each is a folder.
const PLACES: &[&[(&str, bool)]] = &[
    &[("proc", true), ("sys", true), ("dev", true), ("etc/resolv.conf", false)],
    &[("dev/null", false), ("dev/console", false), ("dev/pts", true)],
    &[("tmp", true)],
    &[("etc/hosts", false), ("etc/hostname", false)],
    &[(".oncebox", true)],
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

/// The places as something that they should not be.
fn cases(canary: &str) -> Vec<(String, Archive)> {
    type Form<'a> = &'a dyn Fn(Archive, &str, bool) -> Archive;
    let beneath = |top: &str, folder: bool| format!("{top}{}", if folder { "" } else { "/file" });
    let up = format!("{}{canary}", "../".repeat(20));
    let forms: [(&str, Form<'_>); 6] = [
        ("links out", &|archive, place, folder| archive.symlink(place, &beneath(canary, folder))),
        ("links up", &|archive, place, folder| archive.symlink(place, &beneath(&up, folder))),
        ("links inside", &|archive, place, folder| {
            archive.symlink(place, if folder { "/home" } else { "/etc/passwd" })
        }),
        ("links to themselves", &|archive, place, _| archive.symlink(place, &format!("/{place}"))),
        ("files and folders", &|archive, place, folder| match folder {
            true => archive.file(place, 0o666, "canary"),
            false => archive.dir(place, 0o777).file(format!("{place}/x"), 0o666, "canary"),
        }),
        ("pipes", &|archive, place, _| archive.fifo(place, 0o666)),
    ];
    let mut cases = Vec::new();
    for places in PLACES {
        let named = |what: &str| format!("{} as {what}", places[0].0);
        for (what, form) in forms {
            let made = |archive, (place, folder): &(&str, bool)| form(archive, place, *folder);
            cases.push((named(what), places.iter().fold(Archive::new(), made)));
        }
        // In the base there are the folders alone.
        let gone = places.iter().filter(|(place, folder)| *folder && !place.contains('/'));
        let gone = gone.fold(Archive::new(), |archive, (place, _)| archive.whiteout(place));
        if !gone.clone().bytes().iter().all(|byte| *byte == 0) {
            cases.push((named("missing"), gone));
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
    let name = format!("oncebox-test/places:{}", std::process::id());
    let cases = cases(canary.path());
    let mut images = vec![(name.clone(), Image::new([base.clone()]))];
    images.extend(cases.iter().enumerate().map(|(n, (_, archive))| {
        let layer = archive.clone().packed(Packing::Plain);
        (format!("{name}-{n}"), Image::new([base.clone(), layer]))
    }));
    let _loaded = Loaded::new(engine, &images);
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        let run = |image: &str| {
            service.execute(&json!({
                "image": image, "script": LOOK, "pull_policy": "never", "timeout": 30, "cpu_limit": 1,
            }))
        };
        let normal = run(&name).ran().text();
        assert!(normal.contains("\nwritten\n"), "{normal}");
        for ((what, _), (image, _)) in cases.iter().zip(&images[1..]) {
            let reply = run(image);
            if reply.http == 200 {
                assert_eq!(reply.ran().text(), normal, "{what}");
            } else {
                let problem = reply.refused();
                let said = (problem.http(), problem.code());
                assert_eq!(said, (422, "image_unsupported"), "{what}: {}", problem.0);
            }
        }
    });
    assert_eq!(canary.tree(), before);
}

on_both_engines! { together: k21_mount_points_may_be_anything }
