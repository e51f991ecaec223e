//! Who a script is, and what it would need to become somebody else (K01 to K03).

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{Loaded, python};
use crate::stage::Stage;
use crate::support::images::{Archive, Image, Packing, busybox};
use crate::support::{Engine, host};

fn k01_it_has_no_capabilities(engine: Engine) {
    let script = "
status = dict(line.rstrip('\\n').split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
print({status[name] for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')})
print(status['NoNewPrivs'], status['Seccomp'], set(status['Groups'].split()) - {str(os.getgid())})
print('0' in status['Uid'].split() + status['Gid'].split())
";
    let printed = python(&Stage::get(engine), script);
    assert_eq!(printed, "{'0000000000000000'}\n1 2 set()\nFalse\n");
}

/// `cap_setgid+p` as the kernel keeps it (capability.h, `vfs_cap_data`), in characters whose bytes
/// are all below 128.
const CAPABILITY: &str = "\0\0\0\u{2}\u{40}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A program that says who it is: what it gains by a file's rights shows in `/proc/self/status`.
fn teller() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("teller.c"), folder.path().join("teller"));
    fs::write(&source, include_str!("teller.c")).expect("a file");
    let mut cc = Command::new("cc");
    cc.args(["-static", "-O1", "-s", "-o"]).arg(&program).arg(&source);
    assert!(cc.status().expect("cc; tests/run installs it").success());
    fs::read(program).expect("a program")
}

/// Set-user-ID, set-group-ID and capabilities of files, in the image and on a copy in `/tmp`.
fn k02_files_give_no_rights(engine: Engine) {
    let program = teller();
    let rights = Archive::new()
        .file("bin/plain", 0o755, &program)
        .file("bin/setuid", 0o4755, &program)
        .file("bin/setgid", 0o2755, &program)
        .pax_mode(
            &[("SCHILY.xattr.security.capability", CAPABILITY)],
            "bin/capable",
            0o755,
            &program,
        );
    let layers = [busybox().packed(Packing::Plain), rights.packed(Packing::Plain)];
    let name = format!("oncebox-test/rights:{}", std::process::id());
    let _loaded = Loaded::new(engine, &[(name.clone(), Image::new(layers))]);
    if engine == Engine::Docker {
        // The image is what it should be: without our precautions each gains something.
        for (program, line) in [
            ("/bin/setuid", "Uid:\t1000\t0\t0\t0"),
            ("/bin/setgid", "Gid:\t1000\t0\t0\t0"),
            ("/bin/capable", "CapPrm:\t0000000000000040"),
        ] {
            let run = ["run", "--rm", "--network", "none", "--user", "1000:1000", &name, program];
            let said = host::docker(&run);
            assert!(said.contains(&line.to_owned()), "{program}: {said:#?}");
        }
    }
    let script = "
/bin/plain >/tmp/plain
cp /bin/plain /tmp/copy && chmod 6755 /tmp/copy
for program in /bin/setuid /bin/setgid /bin/capable /tmp/copy; do
    $program | cmp - /tmp/plain && echo $program gains nothing
done";
    let stage = Stage::get(engine);
    let answer = stage.attack(&json!({"script": script, "image": name, "pull_policy": "never"}));
    let nothing = "/bin/setuid gains nothing\n/bin/setgid gains nothing\n\
                   /bin/capable gains nothing\n/tmp/copy gains nothing\n";
    assert_eq!((answer.text().as_str(), answer.stderr()), (nothing, String::new()), "{}", answer.0);
}

/// Nothing changes who it is, whatever it asks for.
fn k03_it_can_become_nobody_else(engine: Engine) {
    let script = "
import struct
everything = struct.pack('6I', *[0xffffffff] * 6)
version_3 = struct.pack('Ii', 0x20080522, 0)
other = os.getuid() + 1
print({said for _, said in unlike('ok', [
    ('setuid', 0), ('setgid', 0), ('setresuid', 0, 0, 0), ('setresgid', 0, 0, 0),
    ('setuid to another', other), ('setgid to another', other),
    ('setresuid in part', -1, 0, -1), ('setresgid in part', -1, -1, other)])})
print(unlike('EPERM', [('setgroups', 1, struct.pack('I', 0)), ('setgroups to none', 0, 0), ('capset', version_3, everything)]))
print(0 in os.getresuid() + os.getresgid(), set(os.getgroups()) - {os.getgid()})
";
    // Where it has a user namespace of its own, there is no other uid in it than its own.
    let said = match engine {
        Engine::Native => "EINVAL",
        Engine::Docker => "EPERM",
    };
    let printed = python(&Stage::get(engine), script);
    assert_eq!(printed, format!("{{'{said}'}}\n[]\nFalse set()\n"));
}

on_both_engines! {
    together: k01_it_has_no_capabilities, k02_files_give_no_rights, k03_it_can_become_nobody_else
}
