import assert from "node:assert/strict";
import { test } from "node:test";

import { ConnectionError } from "../dist/errors.js";
import { EventParser, events, type RawEvent } from "../dist/sse.js";

/** What one of these streams must be read as, in the standard's own words where it has some. */
const STREAMS: Record<string, [string, RawEvent[]]> = {
  "one line of data": ["data: a\n\n", [event("a")]],
  "several lines are joined": ["data: a\ndata:b\ndata:  c\n\n", [event("a\nb\n c")]],
  "line ends of all three kinds": ["data: a\r\ndata: b\rdata: c\n\r\n", [event("a\nb\nc")]],
  "nothing but returns": ["data: a\r\rdata: b\r\r", [event("a"), event("b")]],
  "empty data are data": ["data\n\ndata\ndata\n\n", [event(""), event("\n")]],
  "no data, no event": ["event: x\n\ndata: a\n\n", [event("a")]],
  "comments": [": hello\n:\n\ndata: a\n:\ndata: b\n\n", [event("a\nb")]],
  "names and ids": [
    "event: stdout\nid: 7\ndata: a\n\nevent:x\ndata:b\n\nid\ndata:c\n\n",
    [event("a", "stdout", "7"), event("b", "x", "7"), event("c", "message", "")],
  ],
  "an id without an event stays": ["id: 1\n\ndata: a\n\n", [event("a", "message", "1")]],
  "an id with NUL is none": ["id: 1\ndata: a\nid: 2\0\n\n", [event("a", "message", "1")]],
  "the last name counts": ["event: a\nevent: b\ndata: c\n\n", [event("c", "b")]],
  "unknown fields": ["retry: 5\nDATA: x\nfoo: y\n data: z\ndata: a\n\n", [event("a")]],
  "colons in a value": ['data:{"a":": b"}\n\n', [event('{"a":": b"}')]],
  "characters of all lengths": ["data: aé€😀\u2028\u0085\n\n", [event("aé€😀\u2028\u0085")]],
  "a byte order mark in front only": ["\ufeffdata: \ufeffa\n\n", [event("\ufeffa")]],
  "what is incomplete is dropped": ["data: a\n\ndata: b\n", [event("a")]],
};

function event(data: string, name = "message", id = ""): RawEvent {
  return { name, data, id };
}

for (const [name, [text, expected]] of Object.entries(STREAMS)) {
  test(`${name}, cut anywhere`, () => {
    const bytes = new TextEncoder().encode(text);
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        const parser = new EventParser();
        const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
        assert.deepEqual(pieces.flatMap((piece) => parser.push(piece)), expected, `${first}, ${second}`);
      }
    }
    const parser = new EventParser();
    const one = [...bytes].flatMap((byte) => parser.push(Uint8Array.of(byte)));
    assert.deepEqual(one, expected, "byte by byte");
  });
}

test("an event is there with the line that ends it", () => {
  const parser = new EventParser();
  const push = (text: string) => parser.push(new TextEncoder().encode(text)).length;
  assert.deepEqual(["data: a\n", "\n", "data: b\r", "\r", "\n"].map(push), [0, 1, 0, 1, 0]);
});

test("a long line in many chunks takes time by its length, not by its square", () => {
  const parser = new EventParser();
  const chunk = new Uint8Array(1024).fill(97);
  const started = performance.now();
  parser.push(new TextEncoder().encode("data: "));
  for (let chunks = 0; chunks < 32 * 1024; chunks++) parser.push(chunk);
  const [long] = parser.push(new TextEncoder().encode("\n\n"));
  assert.equal(long?.data.length, 32 * 1024 * 1024);
  assert.ok(performance.now() - started < 10_000);
});

test("whoever stops reading closes the stream", async () => {
  let closed = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\n")),
    cancel: () => void (closed = true),
  });
  for await (const { data } of events(body)) {
    assert.equal(data, "a");
    break;
  }
  assert.ok(closed);
});

test("a stream without a sign of life is given up", { timeout: 10_000 }, async () => {
  const dead = new ReadableStream<Uint8Array>({ cancel: () => new Promise(() => {}) });
  await assert.rejects(events(dead, undefined, 50).next(), ConnectionError);
});

test("a signal ends a read that waits, with its own reason", { timeout: 10_000 }, async () => {
  const controller = new AbortController();
  const next = events(new ReadableStream<Uint8Array>(), controller.signal).next();
  const reason = new Error("enough");
  controller.abort(reason);
  await assert.rejects(next, (error) => error === reason);
});
