import { ThimbleError } from '../core/errors.ts';

/** Seconds since 1970 of an ISO 8601 date or time, UTC where it says nothing else. Throws USAGE. */
export function parseDate(text: string): number {
  const isDate = /^\d{4}-\d{2}-\d{2}$/.test(text);
  // A day means all of it.
  const full = isDate ? `${text}T23:59:59Z` : /(Z|[+-]\d{2}:?\d{2})$/.test(text) ? text : `${text}Z`;
  const seconds = Date.parse(full) / 1000;
  if (Number.isFinite(seconds)) return Math.floor(seconds);
  throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a date`, {
    hint: 'dates look like 2026-11-22 or 2026-11-22T12:00:00Z',
  });
}
