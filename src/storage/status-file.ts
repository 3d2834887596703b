/** `.cvmfs_status.json`: when a server last did what, for monitors; a JSON object of texts. */

import type { Storage } from './storage.ts';

export const STATUS_PATH = '.cvmfs_status.json';

/** Changes some of the fields; the others stay. Throws STORAGE. */
export async function updateStatus(
  storage: Storage,
  changes: Readonly<Record<string, string>>,
): Promise<void> {
  const known = parseStatus(await storage.read(STATUS_PATH));
  await storage.replace(STATUS_PATH, Buffer.from(`${JSON.stringify({ ...known, ...changes })}\n`));
}

/** What cannot be read says nothing, and is written anew. */
function parseStatus(bytes: Uint8Array | undefined): object {
  if (bytes === undefined) return {};
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** As `date --utc` prints it: `Sun Nov 22 12:54:10 UTC 2026`. */
export function formatStatusTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = String(date.getUTCDate()).padStart(2, ' ');
  const time = date.toISOString().slice(11, 19);
  return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${day} ${time} UTC ${date.getUTCFullYear()}`;
}
