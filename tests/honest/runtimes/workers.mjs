// worker_threads: messages, shared memory, atomics, channels, many one after another.
import assert from 'node:assert';
import { once } from 'node:events';
import { AsyncLocalStorage } from 'node:async_hooks';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { BroadcastChannel, MessageChannel, Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

const file = fileURLToPath(import.meta.url);

if (!isMainThread) {
  const { what, shared, port, n } = workerData;
  if (what === 'count') {
    const cells = new Int32Array(shared);
    for (let i = 0; i < 10_000; i++) Atomics.add(cells, 0, 1);
    parentPort.postMessage(n);
  } else if (what === 'wait') {
    const cells = new Int32Array(shared);
    Atomics.store(cells, 1, 1);
    Atomics.notify(cells, 1);
    parentPort.postMessage(Atomics.wait(cells, 2, 0, 20_000));
  } else if (what === 'echo') {
    port.on('message', (message) => (message === 'end' ? port.close() : port.postMessage({ echo: message })));
  } else if (what === 'primes') {
    const primes = [];
    for (let i = n; primes.length < 500; i++) {
      let prime = i > 1;
      for (let d = 2; d * d <= i && prime; d++) prime = i % d !== 0;
      if (prime) primes.push(i);
    }
    const bytes = Float64Array.from(primes).buffer;
    parentPort.postMessage(bytes, [bytes]);
  } else if (what === 'fail') {
    throw new RangeError('on purpose');
  } else if (what === 'exit') {
    process.exit(7);
  } else {
    for (;;);
  }
} else {
  const shared = new SharedArrayBuffer(64);
  const cells = new Int32Array(shared);
  const start = (workerData, transferList) => new Worker(file, { workerData, transferList });

  const counters = [0, 1, 2, 3].map((n) => start({ what: 'count', shared, n }));
  const said = await Promise.all(counters.map((w) => once(w, 'message')));
  assert.deepEqual(said.flat().sort(), [0, 1, 2, 3]);
  assert.equal(cells[0], 40_000);

  const waiting = start({ what: 'wait', shared });
  while (Atomics.load(cells, 1) === 0) await sleep(5);
  const woken = once(waiting, 'message');
  Atomics.store(cells, 2, 1);
  while (Atomics.notify(cells, 2) === 0 && waiting.threadId !== -1) await sleep(5);
  assert.match((await woken)[0], /^(ok|not-equal)$/);

  const { port1, port2 } = new MessageChannel();
  const echo = start({ what: 'echo', port: port2 }, [port2]);
  for (const message of ['text', { deep: [1, new Map([['k', new Date(0)]])] }, new Uint8Array(100_000)]) {
    port1.postMessage(message);
    assert.deepEqual((await once(port1, 'message'))[0], { echo: message });
  }
  port1.postMessage('end');
  assert.equal((await once(echo, 'exit'))[0], 0);

  const parts = await Promise.all([0, 10_000].map((n) => once(start({ what: 'primes', n }), 'message')));
  assert.deepEqual(parts.map(([bytes]) => new Float64Array(bytes)[499]), [3571, 14759]);

  assert.equal((await once(start({ what: 'fail' }), 'error'))[0].message, 'on purpose');
  assert.equal((await once(start({ what: 'exit' }), 'exit'))[0], 7);
  const endless = start({ what: 'spin' });
  await once(endless, 'online');
  assert.equal(await endless.terminate(), 1);
  for (let i = 0; i < 10; i++) {
    const one = new Worker('require("worker_threads").parentPort.postMessage(process.pid)', { eval: true });
    // Both may come at once.
    const [[pid], [code]] = await Promise.all([once(one, 'message'), once(one, 'exit')]);
    assert.deepEqual([pid, code], [process.pid, 0]);
  }

  const [a, b] = [new BroadcastChannel('c'), new BroadcastChannel('c')];
  const heard = new Promise((resolve) => (b.onmessage = (event) => resolve(event.data)));
  a.postMessage('to all');
  assert.equal(await heard, 'to all');
  a.close();
  b.close();
  const storage = new AsyncLocalStorage();
  assert.equal(await storage.run(42, async () => (await sleep(5), storage.getStore())), 42);
  const module = new WebAssembly.Module(Uint8Array.from(
    [0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]));
  assert.equal(new WebAssembly.Instance(module).exports.add(40, 2), 42);
  console.log('all right');
}
