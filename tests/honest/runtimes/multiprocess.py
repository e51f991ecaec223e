"""multiprocessing with every way to start, its pools, managers and shared memory."""
import concurrent.futures
import multiprocessing
import os
from multiprocessing import shared_memory


def square(n):
    return n * n


def put(queue, pipe, value, array, lock, event):
    for n in range(100):
        with lock:
            value.value += 1
    array[os.getpid() % len(array)] = 1
    queue.put((os.getpid(), multiprocessing.current_process().name))
    pipe.send({"from": os.getpid()})
    event.wait(30)


def write(name):
    memory = shared_memory.SharedMemory(name=name)
    memory.buf[:5] = b"hello"
    memory.close()


def fail():
    raise SystemExit(3)


def work(context):
    queue, lock, event = context.Queue(), context.Lock(), context.Event()
    here, there = context.Pipe()
    value, array = context.Value("i", 0), context.Array("d", 16)
    workers = [context.Process(target=put, args=(queue, there, value, array, lock, event), name=f"w{n}")
               for n in range(3)]
    [w.start() for w in workers]
    said = dict(queue.get(timeout=60) for _ in workers)
    assert sorted(said.values()) == ["w0", "w1", "w2"]
    assert {here.recv()["from"] for _ in workers} == set(said)
    event.set()
    [w.join(60) for w in workers]
    assert [w.exitcode for w in workers] == [0] * 3 and value.value == 300 and sum(array) >= 1

    failing = context.Process(target=fail)
    failing.start(), failing.join(60)
    assert failing.exitcode == 3

    with context.Pool(3) as pool:
        assert pool.map(square, range(50)) == [n * n for n in range(50)]
        assert sorted(pool.imap_unordered(square, range(20), chunksize=3)) == [n * n for n in range(20)]
        assert pool.apply_async(square, (12,)).get(60) == 144
        assert pool.starmap(max, [(1, 2), (4, 3)]) == [2, 4]
    with context.Manager() as manager:
        shared, names = manager.dict(), manager.list([1, 2])
        shared["a"], _ = 1, names.append(3)
        assert dict(shared) == {"a": 1} and list(names) == [1, 2, 3]
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    try:
        writer = context.Process(target=write, args=(memory.name,))
        writer.start(), writer.join(60)
        assert bytes(memory.buf[:5]) == b"hello"
    finally:
        memory.close()
        memory.unlink()
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(square, range(10))) == [n * n for n in range(10)]
    barrier, semaphore = context.Barrier(2), context.BoundedSemaphore(2)
    other = context.Process(target=barrier.wait)
    other.start()
    barrier.wait(60), other.join(60)
    assert semaphore.acquire(timeout=5) and semaphore.acquire(timeout=5) and not semaphore.acquire(timeout=0.05)


if __name__ == "__main__":
    for way in multiprocessing.get_all_start_methods():
        work(multiprocessing.get_context(way))
        print(way)
    print("all right")
