import { broken, ConnectionError } from "./errors.js";

/** One event as it came (HTML standard, "Server-sent events"). */
export interface RawEvent {
  readonly name: string;
  readonly data: string;
  /** That of the last event that had one. */
  readonly id: string;
}

/** Reads server-sent events from bytes that are cut anywhere. */
export class EventParser {
  // Joins characters that are cut, and drops the byte order mark that may stand in front.
  readonly #decoder = new TextDecoder();
  #line = "";
  #afterReturn = false;
  #name = "";
  #data: string[] = [];
  #id = "";

  /** The events that are complete with this chunk. */
  push(chunk: Uint8Array): RawEvent[] {
    const text = this.#decoder.decode(chunk, { stream: true });
    const events: RawEvent[] = [];
    let start = 0;
    // A line that is still incomplete is not looked through again with the next chunk.
    for (const end of text.matchAll(/\r\n|\r|\n/g)) {
      const cutReturn = this.#afterReturn && end.index === 0 && end[0] === "\n";
      if (!cutReturn) this.#endLine(this.#line + text.slice(start, end.index), events);
      start = (end.index ?? 0) + end[0].length;
    }
    if (start > 0) this.#line = "";
    this.#line += text.slice(start);
    if (text !== "") this.#afterReturn = text.endsWith("\r");
    return events;
  }

  #endLine(line: string, events: RawEvent[]): void {
    this.#line = "";
    if (line === "") {
      if (this.#data.length > 0) {
        events.push({ name: this.#name || "message", data: this.#data.join("\n"), id: this.#id });
      }
      this.#name = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    // A comment has no name. When to come again is our own to say, so `retry` is left aside.
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
  }
}

/** The service gives a sign of life every 15 seconds. */
const SILENCE = 60_000;

/**
 * The events of a response's body. Whoever stops reading them closes the connection.
 *
 * @throws {ConnectionError} when nothing has come for a while, and what its signal says.
 */
export async function* events(
  body: ReadableStream<Uint8Array>,
  signal?: AbortSignal,
  silence = SILENCE,
): AsyncGenerator<RawEvent, void, undefined> {
  const parser = new EventParser();
  const reader = body.getReader();
  // Ends a read that waits. Not waited for itself: a connection that is dead does not close.
  const close = (): void => void reader.cancel().catch(() => {});
  signal?.addEventListener("abort", close);
  try {
    for (;;) {
      signal?.throwIfAborted();
      let silent = false;
      const alarm = setTimeout(() => {
        silent = true;
        close();
      }, silence);
      const read = await reader.read().catch(broken);
      clearTimeout(alarm);
      signal?.throwIfAborted();
      if (silent) throw new ConnectionError(`no sign of life for ${silence / 1000} s`);
      if (read instanceof ConnectionError) throw read;
      if (read.done) return;
      yield* parser.push(read.value);
    }
  } finally {
    signal?.removeEventListener("abort", close);
    close();
  }
}
