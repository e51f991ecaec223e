import type { components } from "./schema.js";
import type { Result } from "./types.js";

type Answer = components["schemas"]["Answer"];

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  // As many arguments as every engine takes.
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
// A byte order mark is output like any other.
const decode = (bytes: Uint8Array): string =>
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

/** An answer with its output as text too where it is none: what is not UTF-8 becomes `U+FFFD`. */
export function toResult(answer: Answer): Result {
  const stdout = "stdout" in answer ? answer.stdout : decode(fromBase64(answer.stdout_base64));
  const stderr = "stderr" in answer ? answer.stderr : decode(fromBase64(answer.stderr_base64));
  return { ...answer, stdout, stderr };
}

/** What a script wrote, byte by byte. */
export function outputBytes(result: Result, stream: "stdout" | "stderr"): Uint8Array {
  if (stream === "stdout" && "stdout_base64" in result) return fromBase64(result.stdout_base64);
  if (stream === "stderr" && "stderr_base64" in result) return fromBase64(result.stderr_base64);
  return encode(result[stream]);
}

/** A result file, byte by byte; `undefined` where there is none or it was skipped. */
export function fileBytes(result: Result, path: string): Uint8Array | undefined {
  const file = result.files.find((file) => file.path === path);
  if (file === undefined || "skipped" in file) return undefined;
  return "content" in file ? encode(file.content) : fromBase64(file.content_base64);
}
