//! The spawner's own file system view, and what containers are made from: a template of the image
//! `host`, and the layers of the others.
//!
//! The spawner keeps nothing of the machine but `/usr` and the store's layers (read-only) and a few
//! synthetic files, in a mount namespace of its own. A container starts as a copy of that view, so there is little to
//! copy and nothing to forget to hide.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::Privilege;
use crate::engine::hardening::{DEVICES, HOSTNAME, HOSTS};

/// Where the pieces are in the spawner's view.
pub const TEMPLATE: &str = "/template";
/// The second lower layer of an overlay that needs two.
pub const EMPTY: &str = "/empty";
/// What every image from the store gets on top: devices, mount points, a name.
pub const BASE: &str = "/base";
/// The store's unpacked layers.
pub const LAYERS: &str = "/layers";
/// Where a container's root is put together before it becomes the root.
pub const ROOT: &str = "/root";
/// The machine's own directories, bound read-only.
pub const HOST: &str = "/host";
/// The machine's device nodes, for a spawner that may not make its own.
pub const DEV: &str = "/dev";

/// The machine's /proc, in the view of a spawner that is an ordinary user.
const PROC: &str = "/proc";

/// The uid and gid of every script as it sees itself on this engine.
pub const INNER_ID: u32 = 1000;

/// Directories that hold programs: `/usr`, and beside it what is not merged into it.
const PROGRAMS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What of the machine's `/etc` programs need and anybody may know.
const COPIED: [&str; 4] = ["ld.so.cache", "protocols", "services", "mime.types"];

/// Builds the view in a new mount namespace and enters it; `layers` is the store's folder of
/// unpacked layers, where there is a store. Answers the directories of [`HOST`]
/// that a container mounts.
///
/// # Errors
/// The step that failed.
pub fn enter(privilege: Privilege, layers: Option<&Path>) -> io::Result<Vec<&'static str>> {
    let at =
        |what: &'static str| move |e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| at("private mounts")(e.into()))?;
    let open_layers = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(path, flags, Mode::empty()).map_err(|e| at("the store's layers")(e.into()))
    };
    // The store may be in the folder that is covered next.
    let layers = layers.map(open_layers).transpose()?;
    // Every machine has one, and nothing else in it is needed here.
    let base = "/tmp";
    mount("oncebox", base, "tmpfs", MountFlags::NOSUID, Some(c"mode=755,size=16m"))
        .map_err(|e| at("template tmpfs")(e.into()))?;
    let view = Path::new(base);
    let programs = build(view, privilege, layers.as_ref()).map_err(at("template"))?;
    chdir(view).map_err(|e| at("chdir")(e.into()))?;
    pivot_root(".", ".").map_err(|e| at("pivot_root")(e.into()))?;
    unmount(".", UnmountFlags::DETACH).map_err(|e| at("detach the machine's root")(e.into()))?;
    chdir("/").map_err(|e| at("chdir")(e.into()))?;
    Ok(programs)
}

fn build(
    view: &Path,
    privilege: Privilege,
    layers: Option<&OwnedFd>,
) -> io::Result<Vec<&'static str>> {
    for place in [TEMPLATE, EMPTY, ROOT, HOST, DEV, BASE, LAYERS] {
        directory(view, place)?;
    }
    let root = view.join(&TEMPLATE[1..]);
    for place in ["/dev/shm", "/etc", "/proc", "/run", "/sys", "/tmp", "/var/tmp", "/usr", "/home"]
    {
        directory(&root, place)?;
    }
    etc(&root.join("etc"))?;
    if privilege == Privilege::User {
        machines_devices(&view.join(&DEV[1..]))?;
    }
    devices(&root.join("dev"), privilege)?;
    base(&view.join(&BASE[1..]), privilege)?;
    if let Some(layers) = layers {
        let layers = format!("/proc/self/fd/{}", layers.as_raw_fd());
        bind_read_only(Path::new(&layers), &view.join(&LAYERS[1..]))?;
    }
    if privilege == Privilege::User {
        // The kernel lets a user namespace mount a /proc only where it sees a whole one already.
        directory(view, PROC)?;
        mount_bind_recursive("/proc", view.join(&PROC[1..]))?;
    }
    programs(view, &root)
}

fn directory(root: &Path, place: &str) -> io::Result<()> {
    let path = root.join(&place[1..]);
    std::fs::create_dir_all(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
}

/// `/usr` and what belongs to it: bound where it is a directory, linked where it is a link.
fn programs(view: &Path, root: &Path) -> io::Result<Vec<&'static str>> {
    let mut bound = Vec::new();
    for name in PROGRAMS {
        let source = Path::new("/").join(name);
        let Ok(found) = std::fs::symlink_metadata(&source) else { continue };
        if found.is_symlink() {
            symlink(std::fs::read_link(&source)?, root.join(name))?;
        } else if found.is_dir() {
            std::fs::create_dir_all(root.join(name))?;
            let target = view.join(&HOST[1..]).join(name);
            std::fs::create_dir_all(&target)?;
            bind_read_only(&source, &target)?;
            bound.push(name);
        }
    }
    Ok(bound)
}

/// Binds one directory and makes the bind read-only. What is mounted beneath comes along, since a
/// user namespace may not take mounts apart; an overlay does not show it.
fn bind_read_only(source: &Path, target: &Path) -> io::Result<()> {
    mount_bind_recursive(source, target)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount(target, flags, "")?)
}

fn etc(etc: &Path) -> io::Result<()> {
    let id = INNER_ID;
    std::fs::write(
        etc.join("passwd"),
        format!("root:x:0:0:root:/:/bin/sh\nscript:x:{id}:{id}:script:/tmp:/bin/sh\n"),
    )?;
    std::fs::write(etc.join("group"), format!("root:x:0:\nscript:x:{id}:\n"))?;
    names(etc)?;
    std::fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files\n")?;
    for name in COPIED {
        if let Ok(bytes) = std::fs::read(Path::new("/etc").join(name)) {
            std::fs::write(etc.join(name), bytes)?;
        }
    }
    alternatives(&etc.join("alternatives"))
}

/// Debian's programs with a choice of implementation are links through `/etc/alternatives`.
fn alternatives(copy: &Path) -> io::Result<()> {
    let Ok(entries) = std::fs::read_dir("/etc/alternatives") else { return Ok(()) };
    std::fs::create_dir_all(copy)?;
    for entry in entries {
        let entry = entry?;
        if let Ok(target) = std::fs::read_link(entry.path()) {
            symlink(target, copy.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What of a container from the store is the container's own, whatever its image says. There is no
/// resolver, since there is no network.
fn base(base: &Path, privilege: Privilege) -> io::Result<()> {
    for place in ["/dev/shm", "/etc", "/proc", "/sys", "/tmp"] {
        directory(base, place)?;
    }
    names(&base.join("etc"))?;
    std::fs::write(base.join("etc/resolv.conf"), "")?;
    devices(&base.join("dev"), privilege)
}

/// The machine's names inside a container.
fn names(etc: &Path) -> io::Result<()> {
    std::fs::write(etc.join("hostname"), format!("{HOSTNAME}\n"))?;
    std::fs::write(etc.join("hosts"), HOSTS)
}

/// The machine's own nodes, for a spawner that may not make any.
fn machines_devices(dev: &Path) -> io::Result<()> {
    for (name, _, _) in DEVICES {
        std::fs::write(dev.join(name), "")?;
        mount_bind(Path::new("/dev").join(name), dev.join(name))?;
    }
    Ok(())
}

fn devices(dev: &Path, privilege: Privilege) -> io::Result<()> {
    for (name, major, minor) in DEVICES {
        let node = dev.join(name);
        match privilege {
            Privilege::Root => {
                let number = rustix::fs::makedev(*major, *minor);
                let mode = Mode::from_raw_mode(0o666);
                mknodat(CWD, &node, FileType::CharacterDevice, mode, number)?;
                std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o666))?;
            }
            // A container binds the machine's own over it.
            Privilege::User => std::fs::write(&node, "")?,
        }
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, dev.join(name))?;
    }
    Ok(())
}

/// The mount options of a tmpfs with a cap on bytes and on inodes (tmpfs(5)).
pub fn tmpfs_options(bytes: u64, inodes: u64) -> io::Result<std::ffi::CString> {
    let options = format!("mode=1777,size={bytes},nr_inodes={inodes}");
    std::ffi::CString::new(options).map_err(io::Error::other)
}

/// The mount options of a container's root: only an overlay gives every container inodes of its
/// own, so that no lock and no watch on a shared file reaches from one to another. `layers` are
/// names in the view, the lowest first; none of them is the image `host`.
pub fn overlay_root(layers: Option<&[String]>) -> io::Result<CString> {
    let Some(layers) = layers else {
        // Without an upper layer an overlay needs two lower ones.
        return Ok(CString::new(format!("lowerdir={TEMPLATE}:{EMPTY}"))?);
    };
    let mut lower = BASE.to_owned();
    for layer in layers.iter().rev() {
        lower += ":";
        lower += layer;
    }
    // What the unpacking process, which has no privileges, can write of an overlay's own marks.
    Ok(CString::new(format!("lowerdir={lower}:{EMPTY},userxattr"))?)
}
