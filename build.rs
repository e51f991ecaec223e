//! Builds the guest as one small static program, so that `cargo build` is the only build step.
//! `src/guest_binary.rs` embeds the result.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Small, static, and free of whatever the outer build adds for itself.
const SETTINGS: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
    // One flag a line, kept apart by the unit separator.
    ("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static"),
];

/// Variables of the outer build (clippy, coverage, a compiler cache) that would change the guest.
const UNSET: &[&str] = &[
    "RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_UNSTABLE_BUILD_STD",
];

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "guest/Cargo.toml", "guest/src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let variable = |name: &str| env::var(name).map_err(|e| format!("{name}: {e}"));
    let target = variable("TARGET")?;
    if variable("CARGO_CFG_TARGET_OS")? != "linux" {
        return Err(format!("Oncebox runs on Linux only, and {target} is not Linux").into());
    }
    let target = guest_target(&variable("RUSTC")?, target);
    let out = PathBuf::from(variable("OUT_DIR")?);
    // A target folder of its own: the outer cargo holds the lock of the usual one.
    let target_dir = out.join("guest");
    let built = target_dir.join(&target).join("release/oncebox-guest");

    let mut cargo = Command::new(variable("CARGO")?);
    for name in UNSET {
        cargo.env_remove(name);
    }
    let status = cargo
        .envs(SETTINGS.iter().copied())
        .env("CARGO_BUILD_BUILD_DIR", &target_dir)
        .args(["build", "--release", "--locked", "--bin", "oncebox-guest"])
        .args(["--features", "pid1", "--manifest-path", "guest/Cargo.toml"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .status()
        .map_err(|e| format!("cannot start cargo to build the guest: {e}"))?;
    if !status.success() {
        return Err(format!(
            "the guest did not build for {target}; the compiler's words are above. It is linked \
             statically, which takes a C linker and the C library's static half: on Debian and \
             Ubuntu `apt-get install gcc libc6-dev`, on Fedora `dnf install gcc glibc-static`; \
             or build for a musl target"
        )
        .into());
    }
    check_static(&built)?;
    fs::copy(&built, out.join("oncebox-guest"))?;
    Ok(())
}

/// The same machine with musl, where its `std` is installed (`rustup target add`): a program of
/// glibc asks the processor for its features some thirty times before `main`, and in a virtual
/// machine each answer is an exit to the hypervisor.
fn guest_target(rustc: &str, target: String) -> String {
    let musl = target.replace("-linux-gnu", "-linux-musl");
    let libdir = Command::new(rustc).args(["--print", "target-libdir", "--target", &musl]).output();
    let has_std = libdir.is_ok_and(|printed| {
        let libdir = String::from_utf8_lossy(&printed.stdout).trim().to_owned();
        printed.status.success() && Path::new(&libdir).join("self-contained").is_dir()
    });
    if has_std { musl } else { target }
}

/// Refuses a program that asks for an interpreter (PT_INTERP, elf(5)): inside a container there
/// may be none.
fn check_static(path: &Path) -> Result<(), Box<dyn Error>> {
    const PT_INTERP: u32 = 3;
    let elf = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let malformed = || format!("{} is not a 64-bit little-endian ELF program", path.display());
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return Err(malformed().into());
    }
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at + len).ok_or_else(malformed)?;
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| malformed())
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in 0..count {
        if number(table + header * size, 4)? == PT_INTERP as usize {
            return Err("the guest was linked dynamically; it must be static. Is `crt-static` \
                        turned off in a cargo configuration file?"
                .into());
        }
    }
    Ok(())
}
