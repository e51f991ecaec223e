import { toResult } from "./bytes.js";
import { ConnectionError } from "./errors.js";
import { type Event, EventReader, problemOf } from "./events.js";
import { Execution } from "./execution.js";
import { request, segment } from "./request.js";
import type { components } from "./schema.js";
import { events } from "./sse.js";
import { type Call, type Options, Transport } from "./transport.js";
import type {
  CallOptions,
  ExecutionDocument,
  Image,
  ImageDetails,
  Language,
  PulledImage,
  PullProgress,
  Ready,
  RemovedImages,
  Result,
  RunOptions,
  StartOptions,
} from "./types.js";

type Schemas = components["schemas"];

const EVENTS = { accept: "text/event-stream" };

/** An Oncebox service. */
export class Oncebox {
  readonly #transport: Transport;

  constructor(options: Options) {
    this.#transport = new Transport(options);
  }

  /** Runs a script and waits for its end, whichever that is. */
  async run(script: string | Uint8Array, options: RunOptions = {}): Promise<Result> {
    const call = await request("/execute", script, options);
    return toResult(await this.#transport.json<Schemas["Answer"]>(call));
  }

  /**
   * Runs a script and tells what happens when it happens. The script starts when the first event is
   * asked for; leaving the loop before the last one cancels it.
   */
  async *stream(
    script: string | Uint8Array,
    options: RunOptions = {},
  ): AsyncGenerator<Event, void, undefined> {
    const call = await request("/execute", script, options);
    const headers = { ...call.headers, ...EVENTS };
    const reader = new EventReader();
    // What is wrong before the script starts may come as an event, and is tried again all the same.
    const { first, rest } = await this.#transport.send({ ...call, headers }, async ({ body }) => {
      const rest = events(body ?? empty(), options.signal);
      const first = await rest.next();
      return { first: first.done ? undefined : reader.read(first.value), rest };
    });
    try {
      if (first !== undefined) yield first;
      for await (const raw of rest) {
        const event = reader.read(raw);
        if (event !== undefined) yield event;
        if (event?.type === "result") return;
      }
    } finally {
      await rest.return();
    }
    throw new ConnectionError("the stream broke off");
  }

  /** Starts a script in the background. */
  async start(script: string | Uint8Array, options: StartOptions = {}): Promise<Execution> {
    const call = await request("/executions", script, options);
    return new Execution(this.#transport, await this.#transport.json<ExecutionDocument>(call));
  }

  /** An execution in the background, by its id. */
  async execution(id: string, options: CallOptions = {}): Promise<Execution> {
    const document = await this.#get<ExecutionDocument>(`/executions/${segment(id)}`, options);
    return new Execution(this.#transport, document);
  }

  /** One's own executions in the background, the newest first; their documents have no results. */
  async *executions({ signal }: CallOptions = {}): AsyncGenerator<Execution, void, undefined> {
    let path: string | undefined = "/executions";
    while (path !== undefined) {
      const page: Schemas["Executions"] = await this.#get(path, { signal });
      for (const document of page.executions) yield new Execution(this.#transport, document);
      path = page.next === null ? undefined : `/executions?after=${encodeURIComponent(page.next)}`;
    }
  }

  /** The images that are here. */
  async images(options: CallOptions = {}): Promise<Image[]> {
    return (await this.#get<Schemas["Images"]>("/images", options)).images;
  }

  async image(reference: string, options: CallOptions = {}): Promise<ImageDetails> {
    return this.#get<ImageDetails>(imagePath(reference), options);
  }

  async removeImage(reference: string, { signal }: CallOptions = {}): Promise<RemovedImages> {
    const call: Call = { method: "DELETE", path: imagePath(reference), again: "unknown", signal };
    return this.#transport.json<RemovedImages>(call);
  }

  /** Pulls an image, whether it is here or not, and tells how far it is. */
  async pull(
    image: string,
    { progress, signal }: CallOptions & { progress?: (progress: PullProgress) => void } = {},
  ): Promise<PulledImage> {
    const call: Call = { method: "POST", path: "/images/pull", again: "unknown", signal };
    const request = { ...call, headers: EVENTS, body: { image } };
    const body = await this.#transport.send(request, async ({ body }) => body);
    for await (const { name, data } of events(body ?? empty(), signal)) {
      if (name === "progress") progress?.(JSON.parse(data));
      if (name === "done") return JSON.parse(data);
      if (name === "error") throw problemOf(data);
    }
    throw new ConnectionError("the stream broke off");
  }

  /** The languages that scripts can be in. */
  async languages(options: CallOptions = {}): Promise<Language[]> {
    return (await this.#get<Schemas["Languages"]>("/languages", options)).languages;
  }

  /**
   * What the service runs on. It is asked once: not being ready is an answer.
   *
   * @throws {ProblemError} as long as it is not ready.
   */
  async ready({ signal }: CallOptions = {}): Promise<Ready> {
    return this.#transport.json<Ready>({ method: "GET", path: "/ready", again: "never", signal });
  }

  #get<T>(path: string, { signal }: CallOptions): Promise<T> {
    return this.#transport.json<T>({ method: "GET", path, again: "unknown", signal });
  }
}

function imagePath(reference: string): string {
  return `/images/${reference.split("/").map(segment).join("/")}`;
}

function empty(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}
