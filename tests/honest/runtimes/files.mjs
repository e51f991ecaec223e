// Files, watching them, streams, packing, digests, time zones, timers, and what the machine says of itself.
import assert from 'node:assert';
import crypto from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { appendFile, cp, mkdtemp, open, opendir, readFile, readdir, rename, rm, symlink, watch, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import readline from 'node:readline';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setInterval as every, setTimeout as sleep } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import zlib from 'node:zlib';

const folder = await mkdtemp(join(os.tmpdir(), 'node-'));
const path = (name) => join(folder, name);
await writeFile(path('a'), 'one\n');
await appendFile(path('a'), 'two\n');
await symlink('a', path('link'));
assert.equal(await readFile(path('link'), 'utf8'), 'one\ntwo\n');
const handle = await open(path('b'), 'w+');
await handle.write(Buffer.from('bytes'), 0, 5, 10);
await handle.sync();
assert.equal((await handle.stat()).size, 15);
await handle.close();
fs.mkdirSync(path('deep/er'), { recursive: true });
await cp(path('a'), path('deep/er/copy'));
await cp(path('deep'), path('copied'), { recursive: true });
await rename(path('copied'), path('moved'));
assert.deepEqual((await readdir(folder)).sort(), ['a', 'b', 'deep', 'link', 'moved']);
let entries = 0;
for await (const _ of await opendir(folder)) entries++;
assert.equal(entries, 5);
assert.throws(() => fs.writeFileSync('/usr/written', ''), (error) => ['EROFS', 'EACCES'].includes(error.code));
assert.equal(fs.statSync('/dev/null').isCharacterDevice(), true);

// Watching: by the kernel, and by asking.
const stop = new AbortController();
const events = watch(folder, { signal: stop.signal });
const first = events.next();
await writeFile(path('watched'), 'x');
assert.equal((await first).value.filename, 'watched');
stop.abort();
const watcher = fs.watch(path('deep'));
const changed = once(watcher, 'change');
fs.writeFileSync(path('deep/new'), '');
assert.deepEqual((await changed)[1], 'new');
watcher.close();
const polled = new Promise((resolve) => fs.watchFile(path('b'), { interval: 20 }, (now) => resolve(now.size)));
const growing = setInterval(() => fs.appendFileSync(path('b'), 'more'), 30);
assert.ok((await polled) >= 15);
clearInterval(growing);
fs.unwatchFile(path('b'));

// Streams and packing.
const upper = new Transform({ transform: (chunk, _, done) => done(null, chunk.toString().toUpperCase()) });
const lines = Readable.from(Array.from({ length: 20_000 }, (_, n) => `line ${n}\n`));
await pipeline(lines, upper, zlib.createGzip(), fs.createWriteStream(path('lines.gz')));
let last;
for await (const line of readline.createInterface({ input: fs.createReadStream(path('lines.gz')).pipe(zlib.createGunzip()) })) last = line;
assert.equal(last, 'LINE 19999');
const data = crypto.randomBytes(100_000);
for (const [pack, unpack] of [[zlib.brotliCompressSync, zlib.brotliDecompressSync], [zlib.deflateSync, zlib.inflateSync]]) {
  assert.ok(unpack(pack(data)).equals(data));
}

// Cryptography, on the pool of threads too.
assert.match(crypto.createHash('sha256').update('').digest('hex'), /^e3b0c442/);
const keys = await Promise.all(Array.from({ length: 8 }, (_, n) => new Promise((resolve, reject) =>
  crypto.scrypt('password', `salt ${n}`, 32, { N: 1024 }, (error, key) => (error ? reject(error) : resolve(key.toString('hex')))))));
assert.equal(new Set(keys).size, 8);
const { publicKey, privateKey } = crypto.generateKeyPairSync('ed25519');
assert.ok(crypto.verify(null, data, publicKey, crypto.sign(null, data, privateKey)));
const subtle = await crypto.webcrypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt', 'decrypt']);
const iv = crypto.randomBytes(12);
const sealed = await crypto.webcrypto.subtle.encrypt({ name: 'AES-GCM', iv }, subtle, data);
assert.ok(Buffer.from(await crypto.webcrypto.subtle.decrypt({ name: 'AES-GCM', iv }, subtle, sealed)).equals(data));
assert.match(crypto.randomUUID(), /^[0-9a-f-]{36}$/);

// Time: zones, timers, clocks.
const at = (timeZone) => new Intl.DateTimeFormat('en-GB', { timeZone, timeStyle: 'short' }).format(new Date('2024-07-01T12:00:00Z'));
assert.deepEqual(['Europe/Berlin', 'America/New_York', 'Asia/Tokyo'].map(at), ['14:00', '08:00', '21:00']);
process.env.TZ = 'Europe/Berlin';
assert.equal(new Date('2024-01-01T00:00:00Z').getHours(), 1);
const began = performance.now();
await Promise.all(Array.from({ length: 1000 }, () => sleep(100)));
assert.ok(performance.now() - began >= 98);
let ticks = 0;
for await (const _ of every(5)) if (++ticks === 10) break;
await new Promise(setImmediate);

// Modules, contexts, memory, the machine.
await writeFile(path('module.cjs'), 'module.exports = 6 * 7');
assert.equal(createRequire(import.meta.url)(path('module.cjs')), 42);
await writeFile(path('module.mjs'), 'export default await Promise.resolve(42)');
assert.equal((await import(path('module.mjs'))).default, 42);
assert.equal(vm.runInNewContext('x * 2', { x: 21 }), 42);
assert.throws(() => vm.runInNewContext('for (;;);', {}, { timeout: 50 }), { code: 'ERR_SCRIPT_EXECUTION_TIMEOUT' });
assert.deepEqual(v8.deserialize(v8.serialize(new Map([[1, { a: [2n] }]]))), new Map([[1, { a: [2n] }]]));
assert.ok(os.cpus().length > 0 && os.totalmem() > 0 && os.hostname() && os.loadavg().length === 3 && os.uptime() > 0);
await rm(folder, { recursive: true });
assert.equal(fs.existsSync(folder), false);
console.log('all right');
