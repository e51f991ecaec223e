import type { components } from "./schema.js";

type Schemas = components["schemas"];

export type Code = Schemas["Code"];
export type ExecutionDocument = Schemas["Execution"];
export type Image = Schemas["Image"];
export type ImageDetails = Schemas["ImageDetails"];
export type Language = Schemas["Language"];
export type Problem = Schemas["Problem"];
export type PulledImage = Schemas["PulledImage"];
export type PullProgress = Schemas["PullProgress"];
export type Ready = Schemas["Ready"];
export type RemovedImages = Schemas["RemovedImages"];
export type ResultFile = Schemas["ResultFile"];

/** The service's answer, with `stdout` and `stderr` as text whatever they are. */
export type Result = Schemas["Answer"] & { stdout: string; stderr: string };

/** A file beside the script. */
export interface File {
  /** Relative to the working directory. */
  path: string;
  content: string | Uint8Array;
  executable?: boolean;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface Keyed {
  /**
   * A script is never run twice by accident: whenever it is not sure that it did not run, the call
   * throws. With `true`, or with an idempotency key of your own, it is sent again, and the service
   * sees to it that it runs once.
   */
  idempotent?: boolean | string | undefined;
}

type Fields<T> = Omit<T, "script" | "script_base64" | "files"> & { files?: File[] };

/** The fields of `POST /execute`, and how to call it. */
export type RunOptions = Fields<Schemas["ExecuteRequest"]> & CallOptions & Keyed;
/** The fields of `POST /executions`, and how to call it. */
export type StartOptions = Fields<Schemas["ExecutionRequest"]> & CallOptions & Keyed;
