import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { apiKey, url } from "./support/live.js";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
// Beneath the package, so that it finds itself by its name.
const FOLDER = join(ROOT, "build/readme");

test("what README.md shows is right, and prints what it says", { timeout: 120_000 }, () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ""]) =>
    code.replace("http://localhost:8080", url),
  );
  assert.ok(blocks.length > 2);
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  blocks.forEach((block, index) => writeFileSync(join(FOLDER, `${index}.ts`), block));
  const project = { extends: "../../test/tsconfig.json", compilerOptions: { rootDir: ".", outDir: "out" }, include: ["*.ts"] };
  writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify(project));
  const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [compiler, "--project", FOLDER], { stdio: "inherit" });
  for (const [index, block] of blocks.entries()) {
    const env = { ...process.env, ONCEBOX_API_KEY: apiKey };
    const { stdout, stderr } = spawnSync(process.execPath, [join(FOLDER, `out/${index}.js`)], { env, encoding: "utf8" });
    const said = [...block.matchAll(/^\/\/ prints: (.*)$/gm)].map(([, line]) => `${line}\n`).join("");
    assert.equal(stdout, said, `${block}\n${stderr}`);
  }
});
