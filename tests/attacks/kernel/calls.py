"""System calls by name, and what the kernel says to each."""

import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

# This machine's numbers, which come along with this file.
with open('numbers') as table:
    NUMBERS = {name: int(number) for name, number in map(str.split, table)}


def made(number, *arguments):
    """The result of a call, or the name of its error."""
    ctypes.set_errno(0)
    given = [a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else result


def call(name, *arguments):
    """The same by name."""
    return made(NUMBERS[name], *arguments)


def unlike(answer, calls):
    """Those of many calls (a name, or a name and a remark, and arguments) that say something else."""
    told = [(call, made(NUMBERS[call[0].split()[0]], *call[1:])) for call in calls]
    return [(call, said) for call, said in told if said != answer]


def opened(path, flags):
    """'opened', or the name of the error."""
    try:
        os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
        return 'opened'
    except OSError as e:
        return errno.errorcode[e.errno]
