//! Calls by another interface than the machine's own (K13): the filter knows the numbers of one.

use super::python;
use crate::stage::Stage;
use crate::support::Engine;

/// Each in a process of its own, whose fate is told: `int 0x80`, by machine code that the script
/// brings along, and the x32 numbers of the ordinary instruction.
#[cfg(target_arch = "x86_64")]
const FOREIGN: &str = "
import mmap, signal
# push rbx; eax, ebx, ecx = edi, esi, edx; edx = 0; int 0x80; pop rbx; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex('53 89f8 89f3 89d1 31d2 cd80 5b c3'))
int80 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
# Below 4 GiB, where a 32-bit pointer reaches.
MAP_32BIT = 0x40
low = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT)
arguments = (ctypes.c_uint32 * 3).from_buffer(low)
def fate(act):
    child = os.fork()
    if child == 0:
        said = act()
        os._exit(0 if isinstance(said, int) and said >= 0 else 38 if said in (-38, 'ENOSYS') else 1)
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else {0: 'succeeded', 38: 'ENOSYS'}.get(os.WEXITSTATUS(status), 'another error')
told = {}
# getpid, socketcall, socket, mount, clone, unshare, ptrace, keyctl, bpf, fork, one that is none
for number in (20, 102, 359, 21, 120, 310, 26, 288, 357, 2, 999):
    told['int 0x80', number] = fate(lambda: int80(number, 0, 0))
ALG, VSOCK, SOCKET = 38, 40, 1
for family in (1, ALG, VSOCK):
    arguments[:] = family, 1, 0
    told['socketcall', family] = fate(lambda: int80(102, SOCKET, ctypes.addressof(arguments)))
X32 = 0x40000000
# read to futex as on x86-64, and those with a number of their own, from rt_sigaction to pwritev2.
for number in [*range(0, 335), *range(424, 452), *range(512, 548)]:
    told['x32', number] = fate(lambda: made(number | X32, -1, 0, 0, 0, 0, 0))
print(len(told), [(how, said) for how, said in told.items() if said not in ('SIGSYS', 'ENOSYS')])
print({said for (how, number), said in told.items() if how != 'x32'})
";

#[cfg(target_arch = "x86_64")]
fn k13_other_interfaces_are_closed(engine: Engine) {
    assert_eq!(python(&Stage::get(engine), FOREIGN), "413 []\n{'SIGSYS'}\n");
}

#[cfg(target_arch = "x86_64")]
on_both_engines! { together: k13_other_interfaces_are_closed }
