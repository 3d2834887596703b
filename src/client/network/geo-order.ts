/**
 * Asks servers which of them is nearest (docs/manual/replicate.md#the-nearest-server): they know where addresses are.
 */

import { type Bytes, byteStringOf } from '../../core/bytes/byte-string.ts';
import type { Random } from '../../core/ports.ts';

/** Servers that are asked, one after the other, until one answers. */
const MAX_ASKED = 3;
export const MAX_GEO_ANSWER_BYTES = 4096;

export interface GeoQuestion {
  /** Hosts of the servers, in the order of the list. */
  readonly hosts: readonly string[];
  /** The proxy in use; the servers go by its place. None: directly. */
  readonly proxyHost: string | undefined;
  readonly random: Random;
  /** Gets a path from one of the servers. */
  readonly ask: (index: number, path: string) => Promise<Bytes>;
}

/** Places in `hosts`, nearest first; `undefined` where nobody knows. */
export async function askGeoOrder(question: GeoQuestion): Promise<number[] | undefined> {
  const { hosts, random, ask } = question;
  const asker = question.proxyHost ?? randomName(random);
  const path = `api/v1.0/geo/${asker}/${hosts.join(',')}`;
  const left = [...hosts.keys()];
  for (let asked = 0; asked < MAX_ASKED && left.length > 0; asked++) {
    const [index] = left.splice(Math.floor(random.fraction() * left.length), 1);
    try {
      const order = parseGeoAnswer(byteStringOf(await ask(index!, path)), hosts.length);
      if (order !== undefined) return order;
    } catch {
      // The next one may know; without an answer the list stays as it is.
    }
  }
  return undefined;
}

/** Numbers from 1 on, each once. */
export function parseGeoAnswer(text: string, count: number): number[] | undefined {
  const order = text
    .trim()
    .split(',')
    .map((word) => (/^[0-9]{1,4}$/.test(word) ? Number(word) - 1 : -1));
  const isComplete = order.length === count && new Set(order).size === count;
  return isComplete && order.every((index) => index >= 0 && index < count) ? order : undefined;
}

/** In the form of a UUID: caches on the way must not take the question of one client for that of another. */
function randomName(random: Random): string {
  const digits = (count: number) =>
    Array.from({ length: count }, () => Math.floor(random.fraction() * 16).toString(16)).join('');
  return [8, 4, 4, 4, 12].map(digits).join('-');
}
