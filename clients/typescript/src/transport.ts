import { broken, ConnectionError, ProblemError } from "./errors.js";
import { LONGEST, pause } from "./retry.js";
import { sleep } from "./sleep.js";

/** Where the service is and how to speak to it. */
export interface Options {
  /** `https://scripts.example`; a path in it stands in front of every path. */
  url: string | URL;
  apiKey?: string | undefined;
  /** Instead of the global one. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Attempts after one that failed; 3 by default. */
  retries?: number | undefined;
  /** Seconds until an answer is there, or a stream begins, retries included; 300 by default. */
  timeout?: number | undefined;
}

/**
 * When a request may be sent again: never; where the service itself says that it did nothing
 * (`refused`); also when nobody knows what became of it, since it does no harm twice (`unknown`).
 */
export type Again = "never" | "refused" | "unknown";

export interface Call {
  method: "GET" | "POST" | "DELETE";
  path: string;
  again: Again;
  headers?: Record<string, string>;
  body?: object;
  signal?: AbortSignal | undefined;
}

/** Sends requests, again where that is safe. */
export class Transport {
  readonly #base: string;
  readonly #key: string | undefined;
  readonly #fetch: typeof globalThis.fetch;
  readonly #timeout: number;
  readonly retries: number;

  constructor({ url, apiKey, fetch, retries = 3, timeout = 300 }: Options) {
    const base = new URL(url);
    if (!/^https?:$/.test(base.protocol)) throw new TypeError(`${base.protocol} is not HTTP`);
    // Whatever else checks it may put it into its message.
    if (apiKey !== undefined && !/^[!-~]+$/.test(apiKey)) throw new TypeError("this is no API key");
    this.#base = base.origin + base.pathname.replace(/\/+$/, "");
    this.#key = apiKey;
    // Browsers insist on its owner.
    this.#fetch = fetch ?? ((...request) => globalThis.fetch(...request));
    this.#timeout = timeout * 1000;
    this.retries = retries;
  }

  /** The JSON of an answer. */
  json<T>(call: Call): Promise<T> {
    return this.send(call, async (response): Promise<T> => response.json());
  }

  /** Sends a request until `read` has what it wants of the answer. */
  async send<T>(call: Call, read: (response: Response) => Promise<T>): Promise<T> {
    const clock = new Clock(this.#timeout, call.signal);
    try {
      for (let retries = 0; ; retries++) {
        try {
          return await this.#once(call, clock.signal, read);
        } catch (error) {
          clock.signal.throwIfAborted();
          const seconds = this.#wait(error, call.again, retries);
          // Rather what is wrong than that it took too long.
          if (seconds === undefined || 1000 * seconds > clock.left()) throw error;
          await sleep(1000 * seconds, clock.signal);
        }
      }
    } finally {
      clock.stop();
    }
  }

  async #once<T>(
    { method, path, headers, body }: Call,
    signal: AbortSignal,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const request = {
      method,
      signal,
      // There are none, and one that is followed may change the method.
      redirect: "error" as const,
      headers: {
        accept: "application/json",
        ...(this.#key !== undefined && { authorization: `Bearer ${this.#key}` }),
        ...(body !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    };
    try {
      const response = await this.#fetch(this.#base + path, request);
      if (!response.ok) throw await ProblemError.of(response);
      return await read(response);
    } catch (error) {
      throw error instanceof ProblemError ? error : broken(error);
    }
  }

  /** Seconds until it may be sent again, if it may. */
  #wait(error: unknown, again: Again, retries: number): number | undefined {
    if (again === "never" || retries >= this.retries) return undefined;
    if (error instanceof ConnectionError) {
      return again === "unknown" ? pause(undefined, retries) : undefined;
    }
    if (!(error instanceof ProblemError) || ![429, 503].includes(error.status)) return undefined;
    // `interrupted` is how an execution ended, and what a proxy says of it may be wrong.
    if (error.code === "interrupted") return undefined;
    if (error.code === undefined && again !== "unknown") return undefined;
    return (error.retryAfter ?? 0) > LONGEST ? undefined : pause(error.retryAfter, retries);
  }
}

/** How long a call may take: ends its signal, as the caller's own does. */
class Clock {
  readonly #controller = new AbortController();
  readonly #end: number;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #outer: AbortSignal | undefined;
  readonly #follow = (): void => this.#controller.abort(this.#outer?.reason);

  constructor(milliseconds: number, outer: AbortSignal | undefined) {
    this.#end = performance.now() + milliseconds;
    this.#outer = outer;
    const late = (): void => {
      const message = `no answer within ${milliseconds / 1000} s`;
      this.#controller.abort(new DOMException(message, "TimeoutError"));
    };
    // A longer one would end at once.
    this.#timer = setTimeout(late, Math.min(milliseconds, 0x7fff_ffff));
    if (outer?.aborted) this.#follow();
    else outer?.addEventListener("abort", this.#follow);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Milliseconds. */
  left(): number {
    return this.#end - performance.now();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#follow);
  }
}
