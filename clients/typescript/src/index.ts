export { fileBytes, outputBytes } from "./bytes.js";
export { Oncebox } from "./client.js";
export { ConnectionError, ProblemError } from "./errors.js";
export type { Event, OutputEvent, ResultEvent, StartedEvent } from "./events.js";
export type { Execution } from "./execution.js";
export type { components, operations, paths } from "./schema.js";
export type { Options } from "./transport.js";
export type {
  CallOptions,
  Code,
  ExecutionDocument,
  File,
  Image,
  ImageDetails,
  Keyed,
  Language,
  Problem,
  PulledImage,
  PullProgress,
  Ready,
  RemovedImages,
  Result,
  ResultFile,
  RunOptions,
  StartOptions,
} from "./types.js";
