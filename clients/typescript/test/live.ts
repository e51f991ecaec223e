import assert from "node:assert/strict";
import { test } from "node:test";

import { type Event, fileBytes, Oncebox, outputBytes, ProblemError } from "oncebox";

import { apiKey, cancelled, client, setting, slowKey, until, url } from "./support/live.js";

const timeout = 60_000;
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => byte);

async function all(events: AsyncIterable<Event>): Promise<Event[]> {
  const list: Event[] = [];
  for await (const event of events) list.push(event);
  return list;
}

test("a script runs with all that it is given", { timeout }, async () => {
  const script = 'cat; echo "$A $1"; cat data/a.txt; ./tool; cp data/bytes out.bin; echo é > out.txt';
  const result = await client.run(script, {
    language: "sh",
    stdin: "in\n",
    args: ["one"],
    env: { A: "ä" },
    files: [
      { path: "data/a.txt", content: "file\n" },
      { path: "data/bytes", content: ALL_BYTES },
      { path: "tool", content: "#!/bin/sh\necho tool >&2\n", executable: true },
    ],
    outputs: ["out.*"],
    timeout: 20,
    resources: "small",
    memory_limit: "128m",
  });
  assert.equal(result.stdout, "in\nä one\nfile\n");
  assert.equal(result.stderr, "tool\n");
  assert.deepEqual([result.status, result.success, result.exit_code], ["completed", true, 0]);
  assert.deepEqual(fileBytes(result, "out.bin"), ALL_BYTES);
  assert.deepEqual(fileBytes(result, "out.txt"), new TextEncoder().encode("é\n"));
  assert.equal(fileBytes(result, "out.none"), undefined);
});

test("a script of any bytes, and its output byte by byte", { timeout }, async () => {
  const text = new TextEncoder().encode("#!/bin/sh\ncat \"$0\"; printf '\\377' >&2; exit 3\n# ");
  const script = new Uint8Array([...text, ...ALL_BYTES, 10]);
  const result = await client.run(script);
  assert.equal(result.exit_code, 3);
  assert.deepEqual(outputBytes(result, "stdout"), script);
  assert.deepEqual(outputBytes(result, "stderr"), Uint8Array.of(0xff));
  assert.equal(result.stderr, "\ufffd");
  const plain = await client.run("printf '\ufeffé'");
  assert.deepEqual(outputBytes(plain, "stdout"), new TextEncoder().encode("\ufeffé"));
});

test("however a script ends, that is a result", { timeout }, async () => {
  const slow = await client.run("echo before; sleep 20", { timeout: 0.5 });
  assert.deepEqual([slow.status, slow.success, slow.stdout], ["timed_out", false, "before\n"]);
  const killed = await client.run("kill -TERM $$");
  assert.deepEqual([killed.status, killed.signal, killed.exit_code], ["signaled", "SIGTERM", 143]);
});

test("what is wrong has a code and a field", { timeout }, async () => {
  const wrong = { files: [{ path: "a", content: "" }, { path: "../b", content: "" }] };
  const error = await client.run("true", wrong).catch((error: unknown) => error);
  assert.ok(error instanceof ProblemError, String(error));
  assert.deepEqual([error.status, error.code, error.field], [400, "invalid_path", "files[1].path"]);
  assert.ok(error.detail && error.requestId);
  await assert.rejects(all(client.stream("true", wrong)), { code: "invalid_path" });
  await assert.rejects(client.start("true", wrong), { code: "invalid_path" });
  await assert.rejects(client.run("true", { timeout: 1e6 }), { code: "limit_exceeded", field: "timeout" });
});

test("who has no key, or a wrong one, stays out", { timeout }, async () => {
  const unauthorized = { name: "ProblemError", status: 401, code: "unauthorized" };
  const wrong = `obx_${"x".repeat(43)}`;
  await assert.rejects(new Oncebox({ url }).run("true"), unauthorized);
  const error = await new Oncebox({ url, apiKey: wrong }).languages().catch((error: Error) => error);
  assert.ok(error instanceof ProblemError && !`${error.stack}`.includes(wrong));
});

test("who is too fast is told when to come again, and comes then", { timeout }, async () => {
  const impatient = new Oncebox({ url, apiKey: slowKey, retries: 0 });
  const many = await Promise.allSettled([1, 2, 3].map(() => impatient.run("true")));
  const limited = many.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
  assert.ok(limited.length > 0);
  for (const { status, code, retryAfter } of limited) {
    assert.deepEqual([status, code], [429, "rate_limited"]);
    assert.ok(retryAfter >= 1 && retryAfter <= 3, retryAfter);
  }
  const patient = new Oncebox({ url, apiKey: slowKey, retries: 5 });
  const all = await Promise.all([1, 2].map(() => patient.run("true")));
  assert.deepEqual(all.map(({ success }) => success), [true, true]);
});

test("a stream tells what happens when it happens", { timeout }, async () => {
  const times: Record<string, number> = {};
  const events: Event[] = [];
  for await (const event of client.stream("echo a; sleep 1; echo b >&2; sleep 1; echo c")) {
    times["text" in event ? event.text : event.type] = performance.now();
    events.push(event);
  }
  const [started, ...rest] = events;
  assert.ok(started?.type === "started");
  assert.deepEqual(
    rest.map((event) => ("text" in event ? [event.type, event.offset, event.text] : event.type)),
    [["stdout", 0, "a\n"], ["stderr", 0, "b\n"], ["stdout", 2, "c\n"], "result"],
  );
  const last = events.at(-1);
  assert.ok(last?.type === "result");
  assert.deepEqual([last.result.id, last.result.stdout, last.result.stderr], [started.id, "a\nc\n", "b\n"]);
  const time = (name: string) => times[name] ?? NaN;
  assert.ok(time("b\n") - time("a\n") > 700 && time("c\n") - time("b\n") > 700);
});

test("the output of a stream is exact, a megabyte of it", { timeout }, async () => {
  const script = "i=0; while [ $i -lt 16384 ]; do printf '€%061d' $i; i=$((i+1)); done; printf '\\377\\342\\202'";
  const events = await all(client.stream(script, { output_limit: "2m" }));
  const bytes = Buffer.concat(events.map((event) => ("bytes" in event ? event.bytes : Buffer.of())));
  const text = events.map((event) => ("text" in event ? event.text : "")).join("");
  const last = events.at(-1);
  assert.ok(last?.type === "result");
  assert.equal(bytes.length, 16384 * 64 + 3);
  assert.ok(bytes.equals(outputBytes(last.result, "stdout")));
  // The last character never becomes whole.
  assert.equal(text, bytes.subarray(0, -2).toString());
});

test("leaving a stream cancels its script", { timeout }, async () => {
  const before = await cancelled();
  for await (const event of client.stream("echo a; sleep 50")) if (event.type === "stdout") break;
  await until(async () => (await cancelled()) === before + 1);
});

test("a signal cancels a script", { timeout }, async () => {
  const before = await cancelled();
  const signal = AbortSignal.timeout(500);
  await assert.rejects(client.run("sleep 50", { signal }), (error) => error === signal.reason);
  await until(async () => (await cancelled()) === before + 1);
});

test("what is ready, and which languages there are", { timeout }, async () => {
  const { engine, canary } = await client.ready();
  assert.ok(engine === "native" || engine === "docker");
  assert.ok(canary.passed);
  const languages = await client.languages();
  assert.ok(languages.some(({ name, aliases }) => name === "python" && aliases.includes("python3")));
});

test("an image is pulled, run, described and removed", { timeout }, async () => {
  const image = setting("TEST_IMAGE");
  const layers: number[] = [];
  const pulled = await client.pull(image, { progress: ({ layers: { length } }) => layers.push(length) });
  assert.equal(pulled.image, image);
  assert.ok(layers.length > 0);
  const { image_digest, success } = await client.run("true", { image });
  assert.deepEqual([image_digest, success], [pulled.image_digest, true]);
  const listed = (await client.images()).find(({ references }) => references.includes(image));
  assert.equal((await client.image(image)).digest, listed?.digest);
  await until(() => client.removeImage(image).then(() => true, ({ code }) => code !== "image_in_use"));
  await assert.rejects(client.image(image), { status: 404, code: "image_not_found" });
  await assert.rejects(client.pull(`${image}-none`), { code: "image_not_found", field: "image" });
});

test("a script in the background is waited for", { timeout }, async () => {
  const execution = await client.start("echo a; sleep 1; echo b");
  assert.ok(["queued", "running"].includes(execution.document.state));
  assert.equal((await execution.wait()).stdout, "a\nb\n");
  const { state, result } = await execution.refresh();
  assert.deepEqual([state, result?.exit_code], ["ended", 0]);
  const again = await client.execution(execution.id);
  assert.equal((await again.wait()).stdout, "a\nb\n");
  await assert.rejects(client.execution("01890000-0000-7000-8000-000000000000"), {
    code: "execution_not_found",
  });
});

test("its events come again from wherever one was", { timeout }, async () => {
  const execution = await client.start("echo a; sleep 1; echo b >&2");
  const first: Event[] = [];
  for await (const event of execution.events()) {
    first.push(event);
    if (event.type === "stdout") break;
  }
  const lastEventId = first.at(-1)?.lastEventId ?? "";
  const rest = await all(execution.events({ lastEventId }));
  assert.deepEqual(rest.map(({ type }) => type), ["stderr", "result"]);
  assert.deepEqual([...first, ...rest], await all(execution.events()));
  assert.deepEqual(await all(execution.events({ lastEventId: "end" })), []);
});

test("it is cancelled by name only", { timeout }, async () => {
  const execution = await client.start("echo a; sleep 50");
  for await (const { type } of execution.events()) if (type === "stdout") break;
  assert.equal((await execution.refresh()).state, "running");
  await execution.cancel();
  const { status, stdout } = await execution.wait();
  assert.deepEqual([status, stdout], ["cancelled", "a\n"]);
});

test("all of them are listed, page by page", { timeout }, async () => {
  const started: string[] = [];
  for (let count = 0; count < 60; count++) started.push((await client.start("true")).id);
  const listed: string[] = [];
  for await (const { id } of client.executions()) listed.push(id);
  assert.equal(new Set(listed).size, listed.length);
  assert.deepEqual(listed.filter((id) => started.includes(id)), started.reverse());
});

test("with one key there is one execution", { timeout }, async () => {
  const idempotent = `key-${process.pid}-${Date.now()}`;
  const script = "date +%N";
  const runs = await Promise.all(Array.from({ length: 8 }, () => client.run(script, { idempotent })));
  assert.equal(new Set(runs.map(({ id, stdout }) => id + stdout)).size, 1);
  await assert.rejects(client.run("true", { idempotent }), { status: 409, code: "idempotency_conflict" });
  const other = await client.run(script, { idempotent: true });
  assert.notEqual(other.id, runs[0]?.id);
  const streamed = await all(client.stream("echo a", { idempotent: true }));
  assert.deepEqual(streamed.map(({ type }) => type), ["started", "stdout", "result"]);
});

test("a key of the caller's is never in what is printed", () => {
  assert.ok(!JSON.stringify(client).includes(apiKey));
});
