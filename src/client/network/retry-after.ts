/** How long a server wants to be left alone (RFC 9110, Retry-After): a number of seconds, or a date. */

import type { HeaderFields } from './http-head.ts';

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/**
 * In seconds; `undefined` where nothing is said. Dates are reckoned by the clock of the server where it tells its time, since that of
 * this machine may be wrong; else by `unixSeconds`.
 */
export function retryAfterSeconds(
  headers: Pick<HeaderFields, 'get'>,
  unixSeconds: number,
): number | undefined {
  const text = headers.get('retry-after') ?? '';
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  const date = parseHttpDate(text);
  if (date === undefined) return undefined;
  return Math.max(0, date - (parseHttpDate(headers.get('date') ?? '') ?? unixSeconds));
}

/** `Sun, 06 Nov 1994 08:49:37 GMT`, the one form of RFC 9110 that is still written, in seconds since 1970. */
function parseHttpDate(text: string): number | undefined {
  const parts = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(text);
  const month = MONTHS.indexOf(parts?.[2] ?? '');
  if (parts === null || month < 0) return undefined;
  const [day, year, hour, minute, second] = [parts[1], parts[3], parts[4], parts[5], parts[6]].map(Number);
  return Date.UTC(year!, month, day, hour, minute, second) / 1000;
}
