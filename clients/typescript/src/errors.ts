import { retryAfter } from "./retry.js";
import type { Code, Problem } from "./types.js";

/** The service's answer that there is no answer. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly status: number;
  /** A stable word; `undefined` where the answer is not the service's own, but of a proxy's. */
  readonly code: Code | undefined;
  /** A sentence for people. */
  readonly detail: string;
  /** The path of the request's field that is wrong. */
  readonly field: string | undefined;
  /** The service's log tells more under this id. */
  readonly requestId: string | undefined;
  /** Seconds after which the same request may go through. */
  readonly retryAfter: number | undefined;

  constructor(status: number, problem: Partial<Problem>, retryAfter?: number) {
    const detail = problem.detail ?? `HTTP status ${status}`;
    super(problem.code === undefined ? detail : `${problem.code}: ${detail}`);
    this.status = status;
    this.code = problem.code;
    this.detail = detail;
    this.field = problem.field;
    this.requestId = problem.request_id;
    this.retryAfter = retryAfter;
  }

  /** What a response says that has no 2xx status. */
  static async of(response: Response): Promise<ProblemError> {
    const header = (name: string) => response.headers.get(name);
    const after = retryAfter(header("retry-after"), Date.now());
    const ours = header("content-type")?.startsWith("application/problem+json");
    const text = await response.text();
    const problem: Partial<Problem> = (ours && parsed(text)) || {};
    const id = problem.request_id ?? header("x-request-id");
    return new ProblemError(response.status, id ? { ...problem, request_id: id } : problem, after);
  }
}

/** The service was not reached, or the connection broke. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** What `fetch` and its streams throw, as ours. */
export function broken(error: unknown): ConnectionError {
  if (error instanceof ConnectionError) return error;
  // Node says what happened one level below, and of several addresses only in a code.
  const { message, cause } = error instanceof Error ? error : { message: String(error) };
  const { message: inner, code }: { message?: string; code?: string } = cause ?? {};
  const text = inner || code || message;
  return new ConnectionError(text, { cause: error });
}

function parsed(text: string): Partial<Problem> | undefined {
  try {
    const problem: unknown = JSON.parse(text);
    return typeof problem === "object" && problem !== null ? problem : undefined;
  } catch {
    return undefined;
  }
}
