import { type Event, Oncebox, outputBytes, ProblemError } from "oncebox";

/** What the page tells the test that opened it. */
async function report(): Promise<object> {
  const { slowKey, ...options } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
  const client = new Oncebox(options);
  const name = (event: Event): string => {
    if (event.type === "started") return event.type;
    return event.type === "result" ? `result ${event.result.exit_code}` : `${event.type} ${event.text}`;
  };

  const result = await client.run("echo héllo; printf '\\377\\n' >&2");
  const run = [result.status, result.stdout, [...outputBytes(result, "stderr")]];

  const stream: string[] = [];
  for await (const event of client.stream("echo a; sleep 0.3; echo b >&2; exit 3")) stream.push(name(event));

  const left: string[] = [];
  for await (const event of client.stream("echo a; sleep 50")) {
    left.push(name(event));
    if (event.type === "stdout") break;
  }

  const problem = (error: unknown): ProblemError => {
    if (error instanceof ProblemError) return error;
    throw error;
  };
  const stranger = new Oncebox({ ...options, apiKey: undefined });
  const refused = await stranger.run("true").then(() => undefined, problem);
  const wrong = await client.run("true", { timeout: 1e6 }).then(() => undefined, problem);
  const impatient = new Oncebox({ ...options, apiKey: slowKey, retries: 0 });
  const many = await Promise.all([1, 2].map(() => impatient.run("true").then(() => undefined, problem)));
  const limited = many.find((error) => error !== undefined);
  const signal = AbortSignal.timeout(500);
  const aborted = await client.run("sleep 50", { signal }).catch((error: Error) => error.name);

  const execution = await client.start("echo a");
  const background: string[] = [];
  for await (const event of execution.events({ lastEventId: "0" })) background.push(name(event));

  const idempotent = crypto.randomUUID();
  const ids = await Promise.all([1, 2].map(async () => (await client.run("true", { idempotent })).id));

  return {
    origin: location.origin,
    run,
    stream,
    left,
    refused: [refused?.status, refused?.code],
    wrong: [wrong?.status, wrong?.code, wrong?.field, Boolean(wrong?.requestId)],
    aborted,
    limited: [limited?.status, limited?.code, (limited?.retryAfter ?? 0) > 0],
    background,
    once: ids[0] === ids[1],
  };
}

const body = await report().catch((error: unknown) => ({ failed: String(error) }));
await fetch("/", { method: "POST", body: JSON.stringify(body) });
