"""Every system call there is, each by a process of its own (amicontained's method).

Prints each number with what became of it: the name of an error, `ok`, `waits`, `ends` or the signal
that ended the process. Numbers may be given; without, it is 0 to 600 and a few above.
"""

import ctypes
import errno
import os
import select
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# Descriptors, pointers, ids and lengths of -1 are refused by whatever reads them. These calls the
# filter judges by an argument: here that is one which honest programs use, and another is wrong.
ARGUMENTS = {
    'x86_64': {
        41: (1, 0),  # socket: of the family unix, of no type
        53: (1, 0),  # socketpair: the same
        54: (-1, 1),  # setsockopt: of level SOL_SOCKET
        56: (0x800,),  # clone: CLONE_SIGHAND, which needs CLONE_VM
        133: (-1, 0),  # mknod: a regular file
        160: (7,),  # setrlimit: RLIMIT_NOFILE
        202: (-1, 0),  # futex: FUTEX_WAIT
        259: (-1, -1, 0),  # mknodat: a regular file
        302: (0, 7),  # prlimit64: RLIMIT_NOFILE of one's own
        317: (-1, 0),  # seccomp: without flags
    },
}[os.uname().machine]
VFORK = {'x86_64': 58}.get(os.uname().machine)


def attempt(number, told):
    """In a process of its own: makes the call and tells what it said."""
    given = ARGUMENTS.get(number, ())
    given += (-1,) * (6 - len(given))
    own = os.getpid()
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, given))
    said = errno.errorcode[ctypes.get_errno()] if result == -1 and ctypes.get_errno() else 'ok'
    # The child that vfork makes writes over the stack to which its parent would return behind it.
    if number == VFORK and os.getpid() != own:
        os.kill(own, signal.SIGKILL)
    os.write(told, said.encode())
    os._exit(0)


def fate(number):
    ours, told = os.pipe()
    child = os.fork()
    if child == 0:
        attempt(number, told)
    os.close(told)
    waits = not select.select([ours], [], [], 2)[0]
    said = '' if waits else os.read(ours, 64).decode()
    os.close(ours)
    try:
        # Some of what it said may have been said by a child of its own, and it may still wait.
        if waits or said:
            os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitpid(child, 0)[1]
    if waits:
        return 'waits'
    if said:
        return said
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else 'ends'


above = [601, 1000, 4095, 1 << 16, (1 << 31) - 1, (1 << 32) - 1]
for number in map(int, sys.argv[1:]) if sys.argv[1:] else [*range(601), *above]:
    print(number, fate(number), flush=True)
