import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBase64, toBase64 } from "../dist/bytes.js";

test("base64 and back, of any length", () => {
  for (const length of [0, 1, 2, 3, 255, 0x7fff, 0x8000, 0x8001, 1_000_000]) {
    const bytes = Uint8Array.from({ length }, (_, at) => (at * 7) % 256);
    const text = toBase64(bytes);
    assert.ok(text === Buffer.from(bytes).toString("base64"), `${length}`);
    assert.ok(Buffer.from(fromBase64(text)).equals(bytes), `${length}`);
  }
});
