// child_process and cluster: exec, spawn, fork, pipes, signals, time-outs.
import assert from 'node:assert';
import { exec, execFile, execFileSync, execSync, fork, spawn, spawnSync } from 'node:child_process';
import cluster from 'node:cluster';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(import.meta.url);
const role = process.env.ROLE;

if (role === 'forked') {
  process.on('message', (message, handle) => {
    if (message === 'server') {
      handle.on('connection', (socket) => socket.end(`from ${process.pid}`));
      process.send('listening');
    } else if (message === 'end') {
      process.exit(9);
    } else {
      process.send({ echo: message, argv: process.argv.slice(2) });
    }
  });
} else if (cluster.isWorker) {
  http.createServer((_, answer) => answer.end(String(cluster.worker.id))).listen(0, '127.0.0.1');
} else {
  const run = promisify(exec);
  assert.deepEqual(await run('echo out; echo err >&2'), { stdout: 'out\n', stderr: 'err\n' });
  await assert.rejects(run('exit 3'), { code: 3 });
  await assert.rejects(run('sleep 60', { timeout: 100 }), { killed: true, signal: 'SIGTERM' });
  await assert.rejects(run('yes', { maxBuffer: 1000 }), { code: 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER' });
  assert.equal((await promisify(execFile)(process.execPath, ['-p', '6*7'])).stdout, '42\n');
  assert.equal(execSync('tr a-z A-Z', { input: 'typed' }).toString(), 'TYPED');
  assert.equal(execFileSync('sh', ['-c', 'echo $X; pwd'], { env: { X: 'y', PATH: process.env.PATH }, cwd: '/' }).toString(), 'y\n/\n');
  assert.deepEqual((({ status, signal }) => ({ status, signal }))(spawnSync('sh', ['-c', 'kill -9 $$'])), { status: null, signal: 'SIGKILL' });
  assert.equal(spawnSync('/no/such/program').error.code, 'ENOENT');

  // A megabyte each way, a chain of pipes, and more descriptors than three.
  const cat = spawn('cat');
  let length = 0;
  cat.stdout.on('data', (data) => (length += data.length));
  cat.stdin.end(Buffer.alloc(1_000_000, 'x'));
  assert.deepEqual(await once(cat, 'close'), [0, null]);
  assert.equal(length, 1_000_000);
  const seq = spawn('seq', ['1', '5000']);
  const tail = spawn('tail', ['-n', '1']);
  seq.stdout.pipe(tail.stdin);
  assert.equal((await once(tail.stdout, 'data')).toString(), '5000\n');
  const fourth = spawn('sh', ['-c', 'echo fourth >&3; cat <&4'], { stdio: ['ignore', 'pipe', 'inherit', 'pipe', 'pipe'] });
  fourth.stdio[4].end('fifth');
  assert.equal((await once(fourth.stdio[3], 'data')).toString(), 'fourth\n');
  assert.equal((await once(fourth.stdout, 'data')).toString(), 'fifth');
  const into = spawn('sh', ['-c', 'echo into'], { stdio: ['ignore', openSync('into', 'w'), 'ignore'] });
  await once(into, 'close');
  assert.equal(readFileSync('into', 'utf8'), 'into\n');

  const sleeper = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  await once(sleeper, 'spawn');
  process.kill(-sleeper.pid, 'SIGTERM');
  assert.deepEqual(await once(sleeper, 'exit'), [null, 'SIGTERM']);
  const aborted = new AbortController();
  const abortable = spawn('sleep', ['60'], { signal: aborted.signal });
  abortable.on('spawn', () => aborted.abort());
  assert.equal((await once(abortable, 'error'))[0].name, 'AbortError');
  const many = await Promise.all(Array.from({ length: 12 }, (_, n) => once(spawn('sh', ['-c', `exit ${n}`]), 'exit')));
  assert.deepEqual(many.map(([code]) => code), Array.from({ length: 12 }, (_, n) => n));

  // A fork of node speaks over its channel, and takes a server over it.
  const forked = fork(file, ['argument'], { env: { ...process.env, ROLE: 'forked' } });
  for (const message of [1, 'text', { nested: [null, true] }]) {
    forked.send(message);
    assert.deepEqual((await once(forked, 'message'))[0], { echo: message, argv: ['argument'] });
  }
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  forked.send('server', server);
  await once(forked, 'message');
  server.close();
  assert.equal((await once(net.connect(port, '127.0.0.1'), 'data')).toString(), `from ${forked.pid}`);
  forked.send('end');
  assert.deepEqual(await once(forked, 'exit'), [9, null]);

  cluster.setupPrimary({ exec: file });
  const workers = [cluster.fork(), cluster.fork()];
  const addresses = await Promise.all(workers.map((worker) => once(worker, 'listening')));
  const answer = await fetch(`http://127.0.0.1:${addresses[0][0].port}/`);
  assert.match(await answer.text(), /^[12]$/);
  const ends = workers.map((worker) => once(worker, 'exit'));
  workers.forEach((worker) => worker.process.kill());
  await Promise.all(ends);

  // Signals to oneself; waiting for one keeps nobody alive.
  const alive = setInterval(() => {}, 1000);
  for (const signal of ['SIGUSR2', 'SIGHUP', 'SIGTERM', 'SIGINT']) {
    const came = once(process, signal);
    process.kill(process.pid, signal);
    assert.equal((await came)[0], signal);
  }
  clearInterval(alive);
  writeFileSync('program', '#!/usr/bin/env node\nconsole.log("a program", process.argv[2])\n', { mode: 0o755 });
  assert.equal(execFileSync('./program', ['runs']).toString(), 'a program runs\n');
  assert.ok(process.resourceUsage().maxRSS > 0);
  console.log('all right');
}
