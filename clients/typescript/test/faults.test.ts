import assert from "node:assert/strict";
import { test } from "node:test";

import { ConnectionError, type Event, Oncebox, ProblemError } from "oncebox";

import { answer, broken, event, fake, freePort, json, problem, silent, stream } from "./support/fake.js";

const timeout = 30_000;
const STARTED = event("started", "0", { id: "e-1" });
const RESULT = event("result", "end", answer());

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** The output of these events, and the name of the last one. */
function told(events: Event[]): [string, string | undefined] {
  const text = events.map((event) => ("text" in event ? event.text : "")).join("");
  return [text, events.at(-1)?.type];
}

for (const [code, status] of [["queue_full", 429], ["queue_timeout", 503]] as const) {
  test(`${code} is tried again when the service says`, { timeout }, async (t) => {
    const service = await fake(t, problem(status, code, { "retry-after": "1" }), json(answer()));
    assert.equal((await service.client().run("echo hi")).stdout, "hi\n");
    const [first, second] = service.seen;
    assert.ok(first && second && second.at - first.at >= 1000);
    assert.deepEqual([second.path, second.body], ["/execute", '{"script":"echo hi"}']);
  });
}

test("a date says when as well", { timeout }, async (t) => {
  const date = new Date(Date.now() + 2000).toUTCString();
  const service = await fake(t, problem(429, "rate_limited", { "retry-after": date }), json(answer()));
  await service.client().run("true");
  assert.ok(Date.now() >= Date.parse(date));
});

test("attempts are bounded, and the last problem is told", { timeout }, async (t) => {
  const full = problem(429, "queue_full", { "retry-after": "0" });
  const service = await fake(t, full, full, full, full);
  const error = await service.client({ retries: 2 }).run("true").catch((error: unknown) => error);
  assert.ok(error instanceof ProblemError);
  const { status, code, detail, requestId, retryAfter, field } = error;
  assert.deepEqual(
    { status, code, detail, requestId, retryAfter, field },
    { status: 429, code: "queue_full", detail: "so it is", requestId: "r-1", retryAfter: 0, field: undefined },
  );
  assert.equal(service.seen.length, 3);
});

test("nobody waits longer than is sensible, or than he has time", { timeout }, async (t) => {
  const later = problem(503, "draining", { "retry-after": "61" });
  const soon = problem(503, "draining", { "retry-after": "5" });
  const service = await fake(t, later, soon);
  await assert.rejects(service.client().run("true"), { code: "draining", retryAfter: 61 });
  await assert.rejects(service.client({ timeout: 4 }).run("true"), { code: "draining", retryAfter: 5 });
  assert.equal(service.seen.length, 2);
});

test("a script that may have run is not sent again", { timeout }, async (t) => {
  const proxy = (status: number) => (response: import("node:http").ServerResponse) =>
    void response.writeHead(status, { "content-type": "text/html" }).end("<h1>upstream reset</h1>");
  const lost = problem(502, "container_lost");
  const ended = problem(503, "interrupted");
  const service = await fake(t, broken, proxy(503), proxy(429), lost, ended, broken, proxy(503));
  const client = service.client();
  await assert.rejects(client.run("true"), ConnectionError);
  await assert.rejects(client.run("true"), { name: "ProblemError", status: 503, code: undefined });
  await assert.rejects(client.run("true"), { name: "ProblemError", status: 429, code: undefined });
  await assert.rejects(client.run("true"), { code: "container_lost" });
  await assert.rejects(client.run("true"), { code: "interrupted" });
  await assert.rejects(client.start("true"), ConnectionError);
  await assert.rejects(all(client.stream("true")), { status: 503 });
  assert.equal(service.seen.length, 7);
});

test("with an idempotency key it is, under the same key", { timeout }, async (t) => {
  const service = await fake(t, broken, json(answer()), broken, json({ id: "e-2" }), json(answer()));
  const client = service.client();
  await client.run("true", { idempotent: true });
  await client.start("true", { idempotent: "mine" });
  await client.run("true", { idempotent: true });
  const keys = service.seen.map(({ headers }) => headers["idempotency-key"]);
  assert.match(String(keys[0]), /^[0-9a-f]{32}$/);
  assert.equal(keys[1], keys[0]);
  assert.deepEqual(keys.slice(2, 4), ["mine", "mine"]);
  assert.notEqual(keys[4], keys[0]);
  assert.equal(service.seen[1]?.body, '{"script":"true"}');
});

test("reading is tried again whatever happened, but readiness never", { timeout }, async (t) => {
  const filling = problem(503, "pool_filling", { "retry-after": "1" });
  const service = await fake(t, broken, json({ languages: [] }), filling);
  assert.deepEqual(await service.client().languages(), []);
  await assert.rejects(service.client().ready(), { code: "pool_filling", retryAfter: 1 });
  assert.equal(service.seen.length, 3);
});

test("an answer that does not come ends by the clock", { timeout }, async (t) => {
  const half = (response: import("node:http").ServerResponse) => void response.writeHead(200).write("{");
  const service = await fake(t, silent, half, stream(":\n\n", "silence"));
  const client = service.client({ timeout: 0.3 });
  const late = { name: "TimeoutError", message: "no answer within 0.3 s" };
  await assert.rejects(client.run("true"), late);
  await assert.rejects(client.languages(), late);
  await assert.rejects(all(client.stream("true")), late);
  assert.equal(service.seen.length, 3);
});

test("a signal ends whatever is going on, with its reason", { timeout }, async (t) => {
  const busy = problem(429, "queue_full", { "retry-after": "20" });
  const service = await fake(t, silent, busy, stream(STARTED, "silence"), stream(STARTED, "silence"));
  const reason = new Error("enough");
  const soon = () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 300);
    return controller.signal;
  };
  const client = service.client();
  const enough = (error: unknown) => error === reason;
  await assert.rejects(client.run("true", { signal: soon() }), enough);
  await service.left;
  await assert.rejects(client.run("true", { signal: soon() }), enough);
  await assert.rejects(all(client.stream("true", { signal: soon() })), enough);
  await assert.rejects(client.pull("x", { signal: soon() }), enough);
  await assert.rejects(client.run("true", { signal: AbortSignal.abort(reason) }), enough);
  assert.equal(service.seen.length, 4);
});

test("leaving a stream closes its connection", { timeout }, async (t) => {
  const service = await fake(t, stream(STARTED, "silence"));
  for await (const { type } of service.client().stream("sleep 100")) {
    assert.equal(type, "started");
    break;
  }
  await service.left;
});

test("a stream that was never begun is never sent", { timeout }, async (t) => {
  const service = await fake(t);
  await service.client().stream("true").return();
  assert.equal(service.seen.length, 0);
});

test("a problem before the start is tried again even as an event", { timeout }, async (t) => {
  const late = event("error", "end", { status: 503, code: "queue_timeout", detail: "too late" });
  const refused = problem(429, "queue_full", { "retry-after": "0" });
  const service = await fake(t, stream(`:\n\n${late}`), refused, stream(STARTED + RESULT), stream(STARTED + late));
  assert.deepEqual(told(await all(service.client().stream("true"))), ["", "result"]);
  await assert.rejects(all(service.client().stream("true")), { code: "queue_timeout", status: 503 });
  assert.equal(service.seen.length, 4);
});

for (const then of ["break", "end"] as const) {
  test(`a stream without its last event (${then}) is not taken for a whole one`, { timeout }, async (t) => {
    const service = await fake(t, stream(STARTED, then));
    await assert.rejects(all(service.client().stream("true")), ConnectionError);
    assert.equal(service.seen.length, 1);
  });
}

test("what a later version says beside is left aside", { timeout }, async (t) => {
  const unknown = event("mood", "0", { good: true });
  const service = await fake(t, stream(unknown + STARTED + unknown + RESULT));
  const events = await all(service.client().stream("true"));
  assert.deepEqual(events.map(({ type }) => type), ["started", "result"]);
});

test("events go on where they broke off, each once", { timeout }, async (t) => {
  const whole = STARTED + event("stdout", "2", { offset: 0, content: "é" });
  const next = event("stdout", "5", { offset: 2, content: "€" });
  // Within the character of an event that is not complete.
  const cut = Buffer.concat([Buffer.from(whole), Buffer.from(next).subarray(0, next.indexOf("€") + 1)]);
  const service = await fake(
    t,
    json({ id: "e-1", state: "running", created: "" }, 202),
    broken,
    stream(cut, "break"),
    problem(503, "draining", { "retry-after": "0" }),
    stream(next, "end"),
    stream(RESULT, "silence"),
  );
  const execution = await service.client().start("true", { retry_on_interrupt: true });
  assert.deepEqual(told(await all(execution.events())), ["é€", "result"]);
  const asked = service.seen.slice(1).map(({ path, headers }) => [path, headers["last-event-id"]]);
  const path = "/executions/e-1/events";
  assert.deepEqual(asked, [[path, undefined], [path, undefined], [path, "2"], [path, "2"], [path, "5"]]);
  await service.left;
});

test("a character that is cut between events and connections is one", { timeout }, async (t) => {
  const [first, second] = ["4oI=", "rA=="].map((content_base64, index) =>
    event("stderr", String(2 * index + 2), { offset: 2 * index, content_base64 }),
  );
  const service = await fake(t, json({ id: "e-1" }), stream(`${first}`, "break"), stream(second + RESULT));
  const events = await all((await service.client().execution("e-1")).events());
  assert.deepEqual(events.map((event) => "text" in event && event.text), ["", "€", false]);
  const bytes = events.flatMap((event) => ("bytes" in event ? [...event.bytes] : []));
  assert.deepEqual(bytes, [0xe2, 0x82, 0xac]);
});

test("events that keep breaking off are given up", { timeout }, async (t) => {
  const service = await fake(t, json({ id: "e-1" }), ...Array(9).fill(stream(":\n\n", "break")));
  const execution = await service.client({ retries: 2 }).execution("e-1");
  await assert.rejects(execution.wait(), ConnectionError);
  assert.equal(service.seen.length, 4);
});

test("after the last event there is nothing", { timeout }, async (t) => {
  const nothing = (response: import("node:http").ServerResponse) => void response.writeHead(204).end();
  const service = await fake(t, json({ id: "e-1" }), nothing);
  const execution = await service.client().execution("e-1");
  assert.deepEqual(await all(execution.events({ lastEventId: "end" })), []);
  assert.equal(service.seen[1]?.headers["last-event-id"], "end");
});

test("an execution without a result says why", { timeout }, async (t) => {
  const why = event("error", "end", { status: 503, code: "interrupted", detail: "the service ended" });
  const service = await fake(t, json({ id: "e-1" }), stream(why));
  const execution = await service.client().execution("e-1");
  await assert.rejects(execution.wait(), { code: "interrupted", message: "interrupted: the service ended" });
  assert.equal(service.seen.length, 2);
});

test("executions come page by page, as they are wanted", { timeout }, async (t) => {
  const page = (ids: string[], next: string | null) => json({ executions: ids.map((id) => ({ id })), next });
  const service = await fake(t, page(["e-3", "e-2"], "e-2"), page(["e-1"], null), page(["e-3", "e-2"], "e-2"));
  const executions = await all(service.client().executions());
  assert.deepEqual(executions.map(({ id }) => id), ["e-3", "e-2", "e-1"]);
  for await (const { id } of service.client().executions()) if (id === "e-2") break;
  assert.deepEqual(service.seen.map(({ path }) => path), ["/executions", "/executions?after=e-2", "/executions"]);
});

test("a pull tells how far it is", { timeout }, async (t) => {
  const progress = (done: number) => event("progress", "", { attempt: 1, layers: [], done, total: 9 });
  const done = event("done", "", { image: "a:1", image_digest: "sha256:1" });
  const failed = event("error", "", { status: 404, code: "image_not_found", detail: "none", field: "image" });
  const service = await fake(t, stream(progress(0) + ":\n\n" + progress(9) + done), stream(failed), stream(":\n\n"));
  const seen: number[] = [];
  const pulled = await service.client().pull("a:1", { progress: ({ done }) => seen.push(done) });
  assert.deepEqual([pulled.image_digest, seen], ["sha256:1", [0, 9]]);
  await assert.rejects(service.client().pull("b"), { code: "image_not_found", field: "image" });
  await assert.rejects(service.client().pull("c"), ConnectionError);
  assert.equal(service.seen[0]?.body, '{"image":"a:1"}');
});

test("a name never leads to another address", { timeout }, async (t) => {
  const service = await fake(t, json({}), json({}), json({}));
  const client = service.client({ url: `${service.url}/behind/a/proxy/` });
  await client.image("registry.example:5000/team/app:1");
  await client.removeImage("a?b#c");
  await client.execution("../images/x");
  const paths = service.seen.map(({ path }) => path.replace("/behind/a/proxy", ""));
  assert.deepEqual(paths, [
    "/images/registry.example%3A5000/team/app%3A1",
    "/images/a%3Fb%23c",
    "/executions/..%2Fimages%2Fx",
  ]);
  for (const name of ["..", ".", "", "../executions", "a/../../executions/x", "a//b"]) {
    await assert.rejects(client.removeImage(name), TypeError, name);
  }
  await assert.rejects(client.execution(".."), TypeError);
  assert.equal(service.seen.length, 3);
});

test("a redirect is not followed", { timeout }, async (t) => {
  const elsewhere = await fake(t);
  const service = await fake(t, (response) => {
    response.writeHead(307, { location: `${elsewhere.url}/execute` }).end();
  });
  await assert.rejects(service.client({ apiKey: "obx_secret" }).run("true"), ConnectionError);
  assert.equal(service.seen[0]?.headers.authorization, "Bearer obx_secret");
  assert.equal(elsewhere.seen.length, 0);
});

test("what is no key and no address is refused at once, and not repeated", () => {
  const wrong = (options: Partial<ConstructorParameters<typeof Oncebox>[0]>) => () =>
    new Oncebox({ url: "http://localhost", ...options });
  assert.throws(wrong({ apiKey: "obx_secret\n" }), (error: Error) => !String(error).includes("secret"));
  assert.throws(wrong({ url: "ftp://localhost" }), TypeError);
  assert.throws(wrong({ url: "nowhere" }), TypeError);
});

test("another fetch is used where there is one", async () => {
  const asked: unknown[] = [];
  const fetch: typeof globalThis.fetch = async (url) => {
    asked.push(url);
    return Response.json(answer("from there"));
  };
  const client = new Oncebox({ url: "https://scripts.example/v1/", fetch });
  assert.equal((await client.run("true")).stdout, "from there");
  assert.deepEqual(asked, ["https://scripts.example/v1/execute"]);
});

test("an answer that is not the service's is not taken for one", { timeout }, async (t) => {
  const service = await fake(t, (response) => void response.end("<h1>Welcome to the hotel</h1>"));
  await assert.rejects(service.client({ retries: 0 }).languages(), ConnectionError);
});

test("nobody there is a broken connection", { timeout }, async () => {
  // Two addresses on many machines.
  for (const host of ["127.0.0.1", "localhost"]) {
    const client = new Oncebox({ url: `http://${host}:${await freePort()}`, retries: 1 });
    await assert.rejects(client.run("true"), { name: "ConnectionError", message: /ECONNREFUSED/ });
  }
});
