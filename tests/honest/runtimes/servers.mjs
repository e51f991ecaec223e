// Servers and clients on loopback: http, fetch, keep-alive, TLS, http2, net, dgram, Unix sockets.
import assert from 'node:assert';
import dgram from 'node:dgram';
import dns from 'node:dns/promises';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tls from 'node:tls';

const ca = readFileSync('ca.pem');
const cert = readFileSync('server.pem');
const key = readFileSync('server.key');
const listen = async (server, ...where) => {
  server.listen(...where);
  await once(server, 'listening');
  return server.address().port;
};

async function handle(request, response) {
  const body = [];
  for await (const part of request) body.push(part);
  response.setHeader('x-method', request.method);
  response.end(Buffer.concat(body).reverse());
}

const plain = http.createServer(handle);
const port = await listen(plain, 0, '127.0.0.1');
const answers = await Promise.all(Array.from({ length: 50 }, async (_, n) => {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: `body ${n}` });
  return [answer.status, answer.headers.get('x-method'), Buffer.from(await answer.arrayBuffer()).reverse().toString()];
}));
assert.deepEqual(answers, Array.from({ length: 50 }, (_, n) => [200, 'POST', `body ${n}`]));

// One connection for many requests.
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ports = new Set();
for (let n = 0; n < 10; n++) {
  const request = http.request({ port, host: '127.0.0.1', agent, method: 'PUT' });
  request.end('abc');
  const [response] = await once(request, 'response');
  ports.add(response.socket.localPort);
  assert.equal((await Readable.from(response).toArray()).join(''), 'cba');
}
assert.equal(ports.size, 1);
agent.destroy();
await assert.rejects(fetch('http://127.0.0.1:1/'), { name: 'TypeError' });

// TLS, trusted and not.
const secure = https.createServer({ cert, key }, handle);
const securePort = await listen(secure, 0, '127.0.0.1');
const get = (options) => new Promise((resolve, reject) =>
  https.get({ port: securePort, host: 'localhost', family: 4, ...options }, (response) => resolve(response.resume())).on('error', reject));
assert.equal((await get({ ca })).statusCode, 200);
await assert.rejects(get({}), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
const echo = tls.createServer({ cert, key }, (socket) => socket.pipe(socket));
const client = tls.connect({ port: await listen(echo, 0, '127.0.0.1'), host: '127.0.0.1', ca, servername: 'localhost' });
await once(client, 'secureConnect');
assert.ok(client.authorized && /^TLSv1\.[23]$/.test(client.getProtocol()));
client.write('over TLS');
assert.equal((await once(client, 'data')).toString(), 'over TLS');
client.destroy();

const second = http2.createServer();
second.on('stream', (stream, headers) => stream.respond({ ':status': 200 }) ?? stream.end(headers[':path']));
const session = http2.connect(`http://127.0.0.1:${await listen(second, 0, '127.0.0.1')}`);
const paths = await Promise.all(['/a', '/b', '/c'].map(async (path) => (await session.request({ ':path': path }).toArray()).join('')));
assert.deepEqual(paths, ['/a', '/b', '/c']);
session.destroy();

// Streams: IPv4, IPv6, a Unix socket, an abstract name; a megabyte through each.
for (const where of [[0, '127.0.0.1'], [0, '::1'], ['stream.sock']]) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => pipeline(socket, socket));
  const number = await listen(server, ...where);
  const socket = number ? net.connect(number, where[1]) : net.connect(where[0]);
  socket.setNoDelay(true).setKeepAlive(true).end(Buffer.alloc(1_000_000, 'x'));
  let length = 0;
  for await (const data of socket) length += data.length;
  assert.equal(length, 1_000_000);
  server.close();
}
for (const [type, host] of [['udp4', '127.0.0.1'], ['udp6', '::1']]) {
  const receiver = dgram.createSocket(type);
  receiver.on('message', (message, from) => receiver.send(`got ${message}`, from.port, from.address));
  receiver.bind(0, host);
  await once(receiver, 'listening');
  const sender = dgram.createSocket(type);
  sender.send('a datagram', receiver.address().port, host);
  assert.equal((await once(sender, 'message'))[0].toString(), 'got a datagram');
  receiver.close();
  sender.close();
}

assert.deepEqual((await dns.lookup('localhost', { family: 4 })).address, '127.0.0.1');
assert.deepEqual(Object.keys(os.networkInterfaces()), ['lo']);
const idle = net.connect(port, '127.0.0.1');
idle.setTimeout(50);
await once(idle, 'timeout');
idle.destroy();
for (const server of [plain, secure, echo, second]) server.close();
console.log('all right');
process.exit(0);
