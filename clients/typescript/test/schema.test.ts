import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

test("the types are those of the API's description", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "oncebox-schema-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const made = join(folder, "schema.ts");
  const command = ["node_modules/openapi-typescript/bin/cli.js", "../../docs/openapi.json", "--output", made];
  execFileSync(process.execPath, command, { cwd: ROOT, stdio: "pipe" });
  const same = readFileSync(made, "utf8") === readFileSync(join(ROOT, "src/schema.ts"), "utf8");
  assert.ok(same, "docs/openapi.json has changed: npm run schema");
});
