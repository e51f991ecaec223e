/** The longest that is waited because the service asks for it, in seconds. */
export const LONGEST = 60;

/** What a `Retry-After` says (RFC 9110, 10.2.3), in seconds. */
export function retryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  if (/^[0-9]+$/.test(value)) return Number(value);
  // `Date.parse` takes much that is no date of HTTP's. Of its three forms, one names no zone.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(value)) return undefined;
  const date = Date.parse(value.endsWith("GMT") ? value : `${value} GMT`);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000);
}

/**
 * How long to wait before the next attempt, in seconds: what was asked for and a little more, so
 * that not all who were told the same come at once; or longer each time.
 *
 * @param retries that there were before.
 */
export function pause(asked: number | undefined, retries: number, random = Math.random): number {
  if (asked !== undefined) return asked + random() * Math.max(0.25, asked / 4);
  const most = Math.min(8, 0.5 * 2 ** retries);
  return most / 2 + (random() * most) / 2;
}
