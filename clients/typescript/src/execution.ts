import { ConnectionError } from "./errors.js";
import { type Event, EventReader } from "./events.js";
import { segment } from "./request.js";
import { pause } from "./retry.js";
import { sleep } from "./sleep.js";
import { events } from "./sse.js";
import { type Call, type Transport } from "./transport.js";
import type { CallOptions, ExecutionDocument, Result } from "./types.js";

/** A connection that lived as long as this was no failure, in milliseconds. */
const LIVED = 10_000;

/** A script that runs in the background. */
export class Execution {
  readonly #transport: Transport;
  /** What there was to say when it was last asked for. */
  document: ExecutionDocument;

  /** @internal */
  constructor(transport: Transport, document: ExecutionDocument) {
    this.#transport = transport;
    this.document = document;
  }

  get id(): string {
    return this.document.id;
  }

  /** Asks how far it is. */
  async refresh(options: CallOptions = {}): Promise<ExecutionDocument> {
    this.document = await this.#transport.json(this.#call("GET", "", options));
    return this.document;
  }

  /** Cancels it; one that is over stays as it is. */
  async cancel(options: CallOptions = {}): Promise<ExecutionDocument> {
    this.document = await this.#transport.json(this.#call("DELETE", "", options));
    return this.document;
  }

  /**
   * Waits for its result, however many connections that takes.
   *
   * @throws {ProblemError} where there is none: it failed, was interrupted or never ran.
   */
  async wait(options: CallOptions = {}): Promise<Result> {
    for await (const event of this.events(options)) {
      if (event.type === "result") return event.result;
    }
    throw new ConnectionError("the events ended without a result");
  }

  /**
   * Its events from the first one, or those after `lastEventId`, and then as they happen; over a
   * new connection where one breaks. Leaving them does not cancel it.
   */
  async *events({
    lastEventId = "",
    signal,
  }: CallOptions & { lastEventId?: string } = {}): AsyncGenerator<Event, void, undefined> {
    const reader = new EventReader();
    for (let failures = 0; ; failures++) {
      const headers = {
        accept: "text/event-stream",
        ...(lastEventId !== "" && { "last-event-id": lastEventId }),
      };
      const call = { ...this.#call("GET", "/events", { signal }), headers };
      // There is nothing after the last event (204), and then no body.
      const body = await this.#transport.send(call, async (response) =>
        response.status === 204 ? null : response.body,
      );
      if (body === null) return;
      const opened = performance.now();
      try {
        for await (const raw of events(body, signal)) {
          const event = reader.read(raw);
          lastEventId = raw.id;
          failures = 0;
          if (event !== undefined) yield event;
          if (event?.type === "result") return;
        }
        throw new ConnectionError("the events broke off");
      } catch (error) {
        if (!(error instanceof ConnectionError)) throw error;
        if (performance.now() - opened > LIVED) failures = 0;
        if (failures >= this.#transport.retries) throw error;
        await sleep(1000 * pause(undefined, failures), signal);
      }
    }
  }

  #call(method: "GET" | "DELETE", path: string, { signal }: CallOptions): Call {
    return { method, path: `/executions/${segment(this.id)}${path}`, again: "unknown", signal };
  }
}
