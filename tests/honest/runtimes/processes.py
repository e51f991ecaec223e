"""Processes: subprocess, fork, exec, spawn, groups, signals, limits, and their pipes."""
import fcntl
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

python = sys.executable or shutil.which("python3")
assert python


def run(*args, **more):
    return subprocess.run(args, capture_output=True, text=True, timeout=30, **more)


assert run("echo", "hello").stdout == "hello\n"
told = run("sh", "-c", "cat; echo no >&2; exit 7", input="typed")
assert (told.returncode, told.stdout, told.stderr) == (7, "typed", "no\n")
assert subprocess.check_output("echo $((6*7)) | tr 4 5", shell=True) == b"52\n"
assert run(python, "-c", "import os; print(os.environ['X'], os.getcwd())", env={"X": "y"}, cwd="/").stdout == "y /\n"
for wrong, kind in [("/no/such/program", FileNotFoundError), ("/etc/passwd", PermissionError)]:
    try:
        run(wrong)
        raise AssertionError(wrong)
    except kind:
        pass
try:
    subprocess.run(["sleep", "60"], timeout=0.2)
    raise AssertionError("no time-out")
except subprocess.TimeoutExpired:
    pass
child = subprocess.Popen(["sleep", "60"], start_new_session=True, close_fds=True)
assert os.getsid(child.pid) == child.pid
os.killpg(child.pid, signal.SIGTERM)
assert child.wait(20) == -signal.SIGTERM

# A megabyte each way at once.
both = run("cat", input="x" * 1_000_000)
assert both.stdout == "x" * 1_000_000
reader, writer = os.pipe()
assert run("sh", "-c", f"echo passed >&{writer}", pass_fds=[writer]).returncode == 0
assert os.read(reader, 100) == b"passed\n"
one = subprocess.Popen(["seq", "1", "1000"], stdout=subprocess.PIPE)
two = subprocess.Popen(["tail", "-n", "1"], stdin=one.stdout, stdout=subprocess.PIPE)
one.stdout.close()
assert two.communicate(timeout=20)[0] == b"1000\n" and one.wait(20) == 0
quick = [subprocess.Popen(["sh", "-c", f"exit {n}"]) for n in range(20)]
assert [p.wait(20) for p in quick] == list(range(20))

# By hand.
pid = os.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "kill -9 $$"])
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
pid = os.posix_spawnp("sh", ["sh", "-c", "exit 3"], os.environ,
                      file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)], setpgroup=0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    os.read(reader, 1)
    os._exit(5)
assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
os.kill(pid, signal.SIGCONT)
assert os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
os.write(writer, b"!")
assert os.wait4(pid, 0)[2].ru_maxrss > 0
pid = os.fork()
if pid == 0:
    os._exit(0)
assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_status == 0
fd = os.pidfd_open(pid)
assert select.select([fd], [], [], 20)[0] == [fd]
os.waitid(os.P_PIDFD, fd, os.WEXITED)
assert os.popen("exit 2").close() == 2 << 8 and os.system("exit 4") == 4 << 8

# A daemon in the old manner, which reports over a pipe.
reader, writer = os.pipe()
if (pid := os.fork()) == 0:
    os.setsid()
    if os.fork() == 0:
        os.umask(0o27)
        os.chdir("/")
        os.write(writer, f"{os.getppid()} {os.getsid(0)}".encode())
    os._exit(0)
os.waitpid(pid, 0)
os.close(writer)
assert len(os.read(reader, 100).split()) == 2

# Signals.
got = []
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
    signal.signal(number, lambda n, _: got.append(n))
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    os.kill(os.getpid(), number)
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause()
assert got == [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGALRM], got
subprocess.run(["true"])
assert got[-1] == signal.SIGCHLD
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
os.kill(os.getpid(), signal.SIGUSR1)
assert select.select([reader], [], [], 20)[0] and os.read(reader, 1)[0] == signal.SIGUSR1
signal.set_wakeup_fd(-1)

# Limits, priorities, and what was used.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (32, hard))
try:
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
    raise AssertionError("no limit")
except OSError as e:
    assert e.errno == 24
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
os.nice(1)
assert os.getpriority(os.PRIO_PROCESS, 0) >= 1
assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime >= 0 and os.times().elapsed > 0
limited = run("sh", "-c", "ulimit -t 1; while :; do :; done")
assert limited.returncode in (-signal.SIGXCPU, -signal.SIGKILL), limited
limited = run("sh", "-c", "ulimit -v 30000; exec " + python + " -c 'bytearray(10**9)'")
assert limited.returncode != 0

# Descriptors go on to a child, or don't.
reader, writer = os.pipe()
assert not os.get_inheritable(reader) and fcntl.fcntl(reader, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
os.set_inheritable(reader, True)
assert run("sh", "-c", f"test -e /proc/self/fd/{reader}", close_fds=False).returncode == 0
with tempfile.TemporaryFile() as file:
    subprocess.run(["sh", "-c", "echo into the file"], stdout=file, check=True)
    file.seek(0)
    assert file.read() == b"into the file\n"
with open("program", "w") as file:
    file.write("#!/bin/sh\necho \"program $1\"\n")
os.chmod("program", 0o755)
assert run("./program", "runs").stdout == "program runs\n"
began = time.monotonic()
slow = [subprocess.Popen(["sleep", "0.3"]) for _ in range(10)]
assert all(p.wait(20) == 0 for p in slow) and time.monotonic() - began < 20
print("all right")
