"""Threads: locks, conditions, barriers, queues, pools, locals, timers, and many of them."""
import concurrent.futures
import contextvars
import ctypes
import os
import queue
import signal
import sys
import threading
import time

lock, total = threading.Lock(), 0


def add(times):
    global total
    for _ in range(times):
        with lock:
            total += 1


threads = [threading.Thread(target=add, args=(1000,)) for _ in range(40)]
[t.start() for t in threads]
[t.join() for t in threads]
assert total == 40_000, total

# Each knows its own number, and the kernel agrees.
ids = set()
barrier = threading.Barrier(20)


def meet():
    ids.add(threading.get_native_id())
    assert os.path.isdir(f"/proc/self/task/{threading.get_native_id()}")
    barrier.wait(20)


threads = [threading.Thread(target=meet) for _ in range(20)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(ids) == 20

# Producers and consumers.
todo, done = queue.Queue(8), queue.PriorityQueue()


def consume():
    while (n := todo.get()) is not None:
        done.put(n * n)


consumers = [threading.Thread(target=consume) for _ in range(4)]
[t.start() for t in consumers]
for n in range(500):
    todo.put(n)
for _ in consumers:
    todo.put(None)
[t.join() for t in consumers]
assert [done.get() for _ in range(500)] == [n * n for n in range(500)]

# A ball between two, by a condition.
condition, turn, passes = threading.Condition(), 0, 0


def play(me):
    global turn, passes
    for _ in range(500):
        with condition:
            assert condition.wait_for(lambda: turn == me, 20)
            turn, passes = 1 - me, passes + 1
            condition.notify_all()


players = [threading.Thread(target=play, args=(me,)) for me in (0, 1)]
[t.start() for t in players]
[t.join() for t in players]
assert passes == 1000

# Recursive locks, semaphores, events, timers.
recursive = threading.RLock()
with recursive, recursive:
    assert not threading.Semaphore(0).acquire(timeout=0.05)
event = threading.Event()
timer = threading.Timer(0.05, event.set)
timer.start()
assert event.wait(20)
never = threading.Timer(60, event.clear)
never.start()
never.cancel()
local = threading.local()
local.x = 1
seen = []
t = threading.Thread(target=lambda: seen.append(hasattr(local, "x")))
t.start(), t.join()
assert seen == [False]

# Pools, results, failures and time-outs.
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    assert list(pool.map(pow, range(200), [2] * 200)) == [n * n for n in range(200)]
    assert isinstance(pool.submit(lambda: 1 / 0).exception(), ZeroDivisionError)
    slow = pool.submit(event.wait, 0.3)
    event.clear()
    done, _ = concurrent.futures.wait([slow], timeout=20)
    assert done
context = contextvars.ContextVar("context", default=0)
copy = contextvars.copy_context()
copy.run(context.set, 7)
assert (context.get(), copy[context]) == (0, 7)

# Signals reach the main thread only, whoever sends them.
caught = []
signal.signal(signal.SIGUSR1, lambda number, _: caught.append(threading.current_thread().name))
t = threading.Thread(target=lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))
t.start(), t.join()
deadline = time.monotonic() + 20
while not caught and time.monotonic() < deadline:
    time.sleep(0.001)
assert caught == ["MainThread"], caught
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
assert signal.sigwait([signal.SIGUSR1]) == signal.SIGUSR1

# Threads of another library, names, stacks, affinity, and frames from outside.
libc = ctypes.CDLL(None)
assert libc.sched_yield() == 0
threading.stack_size(256 * 1024)
deep = threading.Thread(target=lambda: seen.append(sum(range(10))), name="deep")
deep.start(), deep.join()
assert seen[-1] == 45
assert threading.get_ident() in sys._current_frames()
assert os.sched_getaffinity(0)
os.sched_setaffinity(0, os.sched_getaffinity(0))

# A new one after another, far more than may be there at once.
for _ in range(500):
    t = threading.Thread(target=int)
    t.start(), t.join()
print("all right")
