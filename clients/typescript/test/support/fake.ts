import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

import { Oncebox, type Options } from "oncebox";

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
  at: number;
}

export type Reply = (response: ServerResponse, seen: Seen) => void | Promise<void>;

/** A service whose faults are written down: a reply for each request, in turn. */
export interface Fake {
  url: string;
  seen: Seen[];
  /** Ends when the client has closed the connection of a request. */
  left: Promise<void>;
  client: (options?: Partial<Options>) => Oncebox;
}

export async function fake(context: TestContext, ...replies: Reply[]): Promise<Fake> {
  const seen: Seen[] = [];
  let leave = (): void => {};
  const left = new Promise<void>((resolve) => (leave = resolve));
  const server = createServer(async (request, response) => {
    const { method = "", url = "", headers } = request;
    let body = "";
    for await (const piece of request) body += piece;
    const now = { method, path: url, headers, body, at: performance.now() };
    seen.push(now);
    response.on("close", () => response.writableFinished || leave());
    const reply = replies[seen.length - 1];
    if (reply === undefined) problem(418, "unexpected")(response, now);
    else await reply(response, now);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, seen, left, client: (options) => new Oncebox({ url, ...options }) };
}

export function json(document: unknown, status = 200): Reply {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(document));
  };
}

export function problem(status: number, code: string, headers: Record<string, string> = {}): Reply {
  const document = { status, code, detail: "so it is", request_id: "r-1" };
  return (response) => {
    const type = { "content-type": "application/problem+json" };
    response.writeHead(status, { ...type, ...headers }).end(JSON.stringify(document));
  };
}

/** The connection breaks without an answer. */
export const broken: Reply = (response) => void response.destroy();
/** There is never an answer. */
export const silent: Reply = () => {};

/** Events as they stand, and then the end, a break or nothing. */
export function stream(bytes: string | Uint8Array, then: "end" | "break" | "silence" = "end"): Reply {
  return (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(bytes, () => {
      if (then === "end") response.end();
      if (then === "break") response.destroy();
    });
  };
}

export function event(name: string, id: string, data: unknown): string {
  return `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** What the service answers for a script that printed this. */
export function answer(stdout = "hi\n"): object {
  return { id: "e-1", status: "completed", success: true, exit_code: 0, stdout, stderr: "", files: [] };
}

/** A port that nobody listens at. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
