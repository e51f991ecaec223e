import { fromBase64, toResult } from "./bytes.js";
import { ProblemError } from "./errors.js";
import type { components } from "./schema.js";
import type { RawEvent } from "./sse.js";
import type { Problem, Result } from "./types.js";

type Schemas = components["schemas"];

/** The script runs. */
export interface StartedEvent {
  readonly type: "started";
  /** The execution's. */
  readonly id: string;
  /** Where `events()` goes on after this event. */
  readonly lastEventId: string;
}

/** The script wrote something. */
export interface OutputEvent {
  readonly type: "stdout" | "stderr";
  /** Bytes of the same stream before. */
  readonly offset: number;
  /** The characters that are whole with it; one that is cut comes with the next event. */
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly lastEventId: string;
}

/** The script has ended; the last event. */
export interface ResultEvent {
  readonly type: "result";
  readonly result: Result;
  readonly lastEventId: string;
}

export type Event = StartedEvent | OutputEvent | ResultEvent;

/** Joins the characters of one stream that are cut between events. */
class Text {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  read(content: Schemas["EventContent"]): Pick<OutputEvent, "text" | "bytes"> {
    const bytes =
      "content" in content
        ? new TextEncoder().encode(content.content)
        : fromBase64(content.content_base64);
    return { text: this.#decoder.decode(bytes, { stream: true }), bytes };
  }
}

/** Makes events of what comes; one for each execution, whatever it takes of connections. */
export class EventReader {
  readonly #texts = { stdout: new Text(), stderr: new Text() };

  /**
   * An event, or nothing where it is one that a later version of the service has.
   *
   * @throws {ProblemError} for an `error`.
   */
  read({ name, data, id: lastEventId }: RawEvent): Event | undefined {
    switch (name) {
      case "started": {
        const { id }: Schemas["EventStarted"] = JSON.parse(data);
        return { type: name, id, lastEventId };
      }
      case "stdout":
      case "stderr": {
        const output: Schemas["EventOutput"] = JSON.parse(data);
        const { offset } = output;
        return { type: name, offset, ...this.#texts[name].read(output), lastEventId };
      }
      case "result":
        return { type: name, result: toResult(JSON.parse(data)), lastEventId };
      case "error":
        throw problemOf(data);
      default:
        return undefined;
    }
  }
}

/** What an `error` event says. */
export function problemOf(data: string): ProblemError {
  const problem: Problem = JSON.parse(data);
  return new ProblemError(problem.status, problem);
}
