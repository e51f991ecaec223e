import assert from "node:assert/strict";
import { test } from "node:test";

import { pause, retryAfter } from "../dist/retry.js";

const NOW = Date.UTC(1994, 10, 6, 8, 49, 0);

for (const [value, seconds] of [
  [null, undefined],
  ["0", 0],
  ["7", 7],
  ["120", 120],
  ["Sun, 06 Nov 1994 08:49:37 GMT", 37],
  ["Sunday, 06-Nov-94 08:49:37 GMT", 37],
  ["Sun Nov  6 08:49:37 1994", 37],
  ["Sun, 06 Nov 1994 08:48:00 GMT", 0],
  ["", undefined],
  ["-1", undefined],
  ["1.5", undefined],
  ["1e9", undefined],
  ["soon", undefined],
  ["Sunday", undefined],
  ["2094", 2094],
] as const) {
  test(`Retry-After: ${value}`, () => assert.equal(retryAfter(value, NOW), seconds));
}

test("what was asked for is waited, and a little more", () => {
  assert.equal(pause(8, 0, () => 0), 8);
  assert.equal(pause(8, 0, () => 1), 10);
  assert.equal(pause(0, 5, () => 1), 0.25);
});

test("without a word it takes longer each time, up to a limit", () => {
  const longest = [0, 1, 2, 3, 4, 5, 50].map((retries) => pause(undefined, retries, () => 1));
  assert.deepEqual(longest, [0.5, 1, 2, 4, 8, 8, 8]);
  const shortest = [0, 1, 50].map((retries) => pause(undefined, retries, () => 0));
  assert.deepEqual(shortest, [0.25, 0.5, 4]);
});
