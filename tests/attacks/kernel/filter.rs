//! Interfaces of the kernel that no honest script needs, and arguments that make an attack of a call
//! that it does need (K09 to K12).

use std::collections::BTreeSet;

use serde_json::json;

use super::python;
use crate::stage::Stage;
use crate::support::Engine;

fn k09_there_is_no_bpf_and_the_like(engine: Engine) {
    let script = "
print(unlike('EPERM', [('bpf', command, 0, 0) for command in range(-1, 40)] + [
    ('perf_event_open', 0, 0, -1, -1, 0), ('userfaultfd', -1), ('userfaultfd of the user only', 1)]))
print(opened('/dev/userfaultfd', os.O_RDWR))
";
    assert_eq!(python(&Stage::get(engine), script), "[]\nENOENT\n");
}

/// Node's own library would use it, and does without.
fn k10_there_is_no_io_uring(engine: Engine) {
    let stage = Stage::get(engine);
    let script = "
print(unlike('EPERM', [('io_uring_setup', 0, 0), ('io_uring_enter', -1, 0, 0, 0, 0, 0), ('io_uring_register', -1, -1, 0, 0)]))
import asyncio
async def main():
    process = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)
    print((await process.communicate())[0], await asyncio.to_thread(lambda: open('calls.py').read(3)))
asyncio.run(main())
";
    assert_eq!(python(&stage, script), "[]\nb'child\\n' \"\"\"\n");
    let script = "
const fs = require('node:fs/promises');
(async () => {
    await fs.writeFile('/tmp/file', 'read back');
    console.log(await fs.readFile('/tmp/file', 'utf8'), (await fs.stat('/tmp/file')).size);
    console.log(require('node:child_process').execFileSync('echo', ['child'], { encoding: 'utf8' }).trim());
})();
";
    let answer = stage.attack(&json!({
        "script": script, "language": "node", "env": {"UV_USE_IO_URING": "1"},
        "memory_limit": "256m", "cpu_limit": 1, "timeout": 30,
    }));
    assert_eq!(answer.text(), "read back 9\nchild\n", "{}", answer.0);
}

fn k11_there_are_no_keyrings(engine: Engine) {
    let script = "
print(unlike('EPERM', [('keyctl', operation, 0, 0, 0, 0) for operation in range(-1, 34)] + [
    ('add_key', 0, 0, 0, 0, 0), ('request_key', 0, 0, 0, 0)]))
";
    assert_eq!(python(&Stage::get(engine), script), "[]\n");
}

/// Makes every socket that there may be and says which were made, and with which errors others
/// were not. Pairs as well: the kernel makes both sockets before it asks whether the family has any.
const SOCKETS: &str = "
TYPES = (1, 2, 3, 4, 5, 6, 10)
PROTOCOLS = (*range(24), 33, 41, 46, 47, 50, 51, 58, 88, 89, 94, 103, 108, 115, 132, 136, 137, 143, 255, 256, 262, -1)
made_of, errors = set(), set()
def tell(what, said):
    if isinstance(said, int):
        os.close(said)
        made_of.add(what)
    else:
        errors.add(said)
for family in [*range(51), 64, 255, -1]:
    for kind in TYPES:
        for protocol in PROTOCOLS:
            tell(('socket', family, kind, protocol), call('socket', family, kind, protocol))
            pair = (ctypes.c_int * 2)()
            said = call('socketpair', family, kind, protocol, pair)
            if said == 0:
                os.close(pair[1])
                said = pair[0]
            tell(('pair', family, kind, protocol), said)
for what in sorted(made_of):
    print(*what)
print(sorted(errors))
";

fn k12_sockets_are_the_ordinary_ones(engine: Engine) {
    let printed = python(&Stage::get(engine), SOCKETS);
    let mut made: BTreeSet<&str> = printed.lines().collect();
    let errors = made.iter().find(|line| line.starts_with('[')).copied().expect("errors");
    made.remove(errors);
    let mut wanted = BTreeSet::new();
    // For unix, `SOCK_RAW` is another name of `SOCK_DGRAM`, and its own number is a protocol.
    for (kind, protocol) in [1, 2, 3, 5].iter().flat_map(|kind| [(kind, 0), (kind, 1)]) {
        wanted.insert(format!("socket 1 {kind} {protocol}"));
        wanted.insert(format!("pair 1 {kind} {protocol}"));
    }
    for family in [2, 10] {
        for (kind, protocol) in [(1, 0), (1, 6), (2, 0), (2, 17)] {
            wanted.insert(format!("socket {family} {kind} {protocol}"));
        }
    }
    // Netlink: of the route protocol.
    wanted.extend(["socket 16 2 0".to_owned(), "socket 16 3 0".to_owned()]);
    assert_eq!(made, wanted.iter().map(String::as_str).collect());
    // Types and protocols that unix sockets do not have are refused by the kernel; any other error
    // would be told by the code of a family that no script should reach.
    assert_eq!(errors, "['EPERM', 'EPROTONOSUPPORT', 'ESOCKTNOSUPPORT']");
}

/// Further arguments by which a call is refused that is allowed otherwise.
fn single_arguments_are_refused(engine: Engine) {
    let script = "
TCP_ULP, TIOCSTI, TIOCLINUX, NEW_LISTENER = 31, 0x5412, 0x541c, 8
PRIVATE, REALTIME = 128, 256
print(unlike('EPERM', [
    ('ioctl TIOCSTI', -1, TIOCSTI, 0), ('ioctl TIOCLINUX', -1, TIOCLINUX, 0),
    ('ioctl of more bits', -1, TIOCSTI | 1 << 32, 0),
    ('setsockopt TCP_ULP', -1, 6, TCP_ULP, 0, 0),
    ('seccomp listener', 1, NEW_LISTENER, 0),
    ('personality', 0x40000),
] + [('futex requeue', 0, operation | flags, 0, 0, 0, 0) for operation in (11, 12) for flags in (0, PRIVATE, PRIVATE | REALTIME)]))
print(unlike('EBADF', [('ioctl', -1, number, 0) for number in (0x5401, 0x5410, 0x5411, 0x5413, 0x541b, 0x5421, 0x5452, 0x8912, 0x80045430)]))
print(unlike('EBADF', [('setsockopt', -1, 6, option, 0, 0) for option in (1, 30, 32)]))
";
    assert_eq!(python(&Stage::get(engine), script), "[]\n[]\n[]\n");
}

on_both_engines! {
    together: k09_there_is_no_bpf_and_the_like, k10_there_is_no_io_uring,
        k11_there_are_no_keyrings, k12_sockets_are_the_ordinary_ones, single_arguments_are_refused
}
