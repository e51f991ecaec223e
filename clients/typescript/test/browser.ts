import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { apiKey, cancelled, setting, slowKey, until, url } from "./support/live.js";

const ROOT = new URL("..", import.meta.url);
const PAGE = `<!doctype html><meta charset="utf-8">
<script type="importmap">{"imports": {"oncebox": "/dist/index.js"}}</script>
<script type="module" src="/build/page/main.js"></script>`;

/** Serves the page, and ends with what it tells. */
async function told(origin: URL): Promise<{ report: Promise<unknown>; close: () => void }> {
  let tell = (_: unknown): void => {};
  const report = new Promise<unknown>((resolve) => (tell = resolve));
  const server = createServer(async (request, response) => {
    const path = request.url ?? "";
    if (request.method === "POST") {
      let body = "";
      for await (const piece of request) body += piece;
      tell(JSON.parse(body));
      response.end();
    } else if (path === "/") {
      response.setHeader("content-type", "text/html").end(PAGE);
    } else if (/^\/(dist|build\/page)\/[a-z]+\.js$/.test(path)) {
      const file = await readFile(new URL(`.${path}`, ROOT));
      response.setHeader("content-type", "text/javascript").end(file);
    } else {
      response.writeHead(404).end();
    }
  });
  server.listen(Number(origin.port), origin.hostname);
  await once(server, "listening");
  return { report, close: () => (server.close(), server.closeAllConnections()) };
}

test("a page of another origin runs scripts", { timeout: 120_000 }, async (t) => {
  const origin = new URL(setting("PAGE"));
  const page = await told(origin);
  t.after(page.close);
  const profile = await mkdtemp(join(tmpdir(), "oncebox-chromium-"));
  const before = await cancelled();
  const address = `${origin.href}#${encodeURIComponent(JSON.stringify({ url, apiKey, slowKey }))}`;
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  // A process group of its own, since it is many processes.
  const chromium = spawn("chromium", [...flags, `--user-data-dir=${profile}`, address], {
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  chromium.stderr.on("data", (piece) => (log += piece));
  const ended = once(chromium, "exit");
  t.after(async () => {
    if (chromium.pid !== undefined && chromium.exitCode === null) process.kill(-chromium.pid, "SIGKILL");
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  const report = await Promise.race([
    page.report,
    ended.then(() => assert.fail(`chromium ended: ${log.slice(-2000)}`)),
  ]);
  assert.deepEqual(report, {
    origin: origin.origin,
    run: ["completed", "héllo\n", [255, 10]],
    stream: ["started", "stdout a\n", "stderr b\n", "result 3"],
    left: ["started", "stdout a\n"],
    refused: [401, "unauthorized"],
    wrong: [400, "limit_exceeded", "timeout", true],
    aborted: "TimeoutError",
    limited: [429, "rate_limited", true],
    background: ["stdout a\n", "result 0"],
    once: true,
  });
  await until(async () => (await cancelled()) === before + 2);
});
