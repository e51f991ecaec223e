import { toBase64 } from "./bytes.js";
import type { Again, Call } from "./transport.js";
import type { File, RunOptions, StartOptions } from "./types.js";

/** The request that a script and its options are. */
export async function request(
  path: "/execute" | "/executions",
  script: string | Uint8Array,
  { signal, idempotent = false, files, ...fields }: RunOptions | StartOptions,
): Promise<Call> {
  const again: Again = idempotent === false ? "refused" : "unknown";
  const key = idempotent === true ? await newKey() : idempotent;
  return {
    method: "POST",
    path,
    again,
    signal,
    headers: key === false ? {} : { "idempotency-key": key },
    body: {
      ...fields,
      ...(typeof script === "string" ? { script } : { script_base64: toBase64(script) }),
      ...(files !== undefined && { files: files.map(document) }),
    },
  };
}

function document({ content, ...file }: File): object {
  if (typeof content === "string") return { ...file, content };
  return { ...file, content_base64: toBase64(content) };
}

/** A key that nobody else has. `crypto.randomUUID` is not there on pages without TLS. */
async function newKey(): Promise<string> {
  // Node 18 has no global one. The name is no literal, so that no bundler looks for it.
  const module = "node:crypto";
  const source: Crypto =
    globalThis.crypto ?? (await import(/* @vite-ignore */ /* webpackIgnore: true */ module)).webcrypto;
  const bytes = source.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One part of a path. */
export function segment(text: string): string {
  // Dots would lead to another address.
  if (/^\.{0,2}$/.test(text)) throw new TypeError(`${JSON.stringify(text)} is no name`);
  return encodeURIComponent(text);
}
