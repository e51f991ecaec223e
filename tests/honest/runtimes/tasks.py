"""asyncio: tasks, streams, subprocesses, signals, queues, threads and time-outs."""
import asyncio
import os
import signal
import ssl
import sys
import time


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def talk(reader, writer, n):
    for i in range(20):
        writer.write(b"client %d line %d\n" % (n, i))
        await writer.drain()
        assert await reader.readline() == b"CLIENT %d LINE %d\n" % (n, i)
    writer.close()
    await writer.wait_closed()


async def streams():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await asyncio.gather(*[talk(*await asyncio.open_connection("127.0.0.1", port), n) for n in range(30)])
    server.close()
    server = await asyncio.start_unix_server(echo, "tasks.sock")
    await talk(*await asyncio.open_unix_connection("tasks.sock"), 0)
    server.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("server.pem", "server.key")
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile="ca.pem")
    port = server.sockets[0].getsockname()[1]
    await talk(*await asyncio.open_connection("localhost", port, ssl=trusting), 1)
    server.close()


class Answering(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data[::-1], address)


class Asking(asyncio.DatagramProtocol):
    def __init__(self, answer):
        self.answer = answer

    def datagram_received(self, data, _):
        self.answer.set_result(data)


async def datagrams():
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Answering, local_addr=("127.0.0.1", 0))
    answer = loop.create_future()
    client, _ = await loop.create_datagram_endpoint(
        lambda: Asking(answer), remote_addr=server.get_extra_info("sockname"))
    client.sendto(b"abc")
    assert await asyncio.wait_for(answer, 20) == b"cba"
    client.close(), server.close()


async def processes():
    async def double(n):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(int(input()) * 2)", stdin=-1, stdout=-1)
        out, _ = await child.communicate(b"%d\n" % n)
        return int(out), child.returncode
    assert await asyncio.gather(*map(double, range(6))) == [(n * 2, 0) for n in range(6)]
    shell = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 5", stdout=-1, stderr=-1)
    assert await shell.communicate() == (b"out\n", b"err\n") and shell.returncode == 5
    slow = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        await asyncio.wait_for(slow.wait(), 0.1)
        raise AssertionError("no time-out")
    except asyncio.TimeoutError:
        slow.kill()
    assert await slow.wait() == -signal.SIGKILL


async def tasks():
    order, queue = [], asyncio.Queue(2)

    async def produce():
        for n in range(10):
            await queue.put(n)
        await queue.put(None)

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        while (n := await queue.get()) is not None:
            order.append(n)
    assert order == list(range(10))
    try:
        async with asyncio.timeout(0.05):
            await asyncio.sleep(60)
        raise AssertionError("no time-out")
    except TimeoutError:
        pass
    try:
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(asyncio.sleep(60))
            group.create_task(asyncio.to_thread(int, "no number"))
    except* ValueError:
        assert sleeping.cancelled()
    lock, inside = asyncio.Semaphore(3), 0

    async def enter():
        nonlocal inside
        async with lock:
            inside += 1
            assert inside <= 3
            await asyncio.sleep(0)
            inside -= 1
    await asyncio.gather(*[enter() for _ in range(100)])
    began = time.monotonic()
    await asyncio.gather(*[asyncio.sleep(0.2) for _ in range(1000)])
    assert 0.19 < time.monotonic() - began < 20


async def signals():
    loop, got = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, got.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(got.wait(), 20)
    reader, writer = os.pipe()
    came = loop.create_future()
    loop.add_reader(reader, lambda: came.set_result(os.read(reader, 10)))
    loop.call_later(0.01, os.write, writer, b"piped")
    assert await asyncio.wait_for(came, 20) == b"piped"
    loop.remove_reader(reader)
    assert await loop.run_in_executor(None, sum, range(10)) == 45


async def main():
    await asyncio.gather(streams(), datagrams(), processes(), tasks(), signals())

asyncio.run(main(), debug=False)
print("all right")
