import { Oncebox } from "oncebox";

/** What the suite that started the service says about it. */
export function setting(name: "URL" | "API_KEY" | "OTHER_KEY" | "TEST_IMAGE" | "PAGE"): string {
  const value = process.env[`ONCEBOX_${name}`];
  if (!value) throw new Error(`ONCEBOX_${name} is not set; see README.md`);
  return value;
}

export const url = setting("URL");
export const apiKey = setting("API_KEY");
/** Lets one request a second through. */
export const slowKey = setting("OTHER_KEY");
export const client = new Oncebox({ url, apiKey });

/** How many scripts were cancelled by now. */
export async function cancelled(): Promise<number> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${apiKey}` } });
  const line = /^oncebox_executions_total\{status="cancelled"\} (\d+)$/m;
  return Number(line.exec(await response.text())?.[1] ?? 0);
}

/** Waits until it is so; the test's own time is the limit. */
export async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 50));
}
