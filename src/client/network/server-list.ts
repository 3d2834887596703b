/** The servers of a repository: how they are written, and which of them is asked first. */

import { ThimbleError } from '../../core/errors.ts';
import type { Clock } from '../../core/ports.ts';
import type { ProxyMember } from './proxy-member.ts';
import type { Source } from './source.ts';
import { parseHttpUrl } from './url.ts';

/**
 * Reads `CVMFS_SERVER_URL`: addresses with `;` between them, `@fqrn@` for the name of the repository and `@org@` for the part
 * of it before the first dot. Doubles and empty places are left out. Throws USAGE for what is no address.
 */
export function parseServerList(text: string, fqrn: string): string[] {
  const [organisation = ''] = fqrn.split('.');
  const addresses = text
    .split(';')
    .map((part) => part.trim().replaceAll('@fqrn@', fqrn).replaceAll('@org@', organisation))
    .filter((part) => part !== '');
  for (const address of addresses) verifyServerAddress(address);
  return [...new Set(addresses)];
}

/** Throws USAGE. */
function verifyServerAddress(address: string): void {
  if (address.startsWith('file:///') || address.startsWith('/')) return;
  parseHttpUrl(address);
}

export interface ServerEntry {
  readonly source: Source;
  /** The same server by way of proxies. */
  readonly ways: Map<ProxyMember, Source>;
  requests: number;
  failures: number;
  bytes: number;
  lastError: string | undefined;
  /** What it took to answer when servers were last compared. */
  probedMs: number | 'down' | undefined;
  /** The server wants to be left alone until then. */
  notBeforeMs: number;
}

/** Servers in order of preference. Another one than the first is in use for a while only. */
export class ServerList {
  readonly #clock: Clock;
  readonly #resetAfterMs: number;
  #entries: readonly ServerEntry[];
  #current = 0;
  /** When servers ahead of the one in use are due to be tried again; never while there are none. */
  trialMs = Number.POSITIVE_INFINITY;

  /** Throws USAGE for an empty list. */
  constructor(sources: readonly Source[], clock: Clock, resetAfterMs: number) {
    this.#clock = clock;
    this.#resetAfterMs = resetAfterMs;
    this.#entries = entriesOf(sources);
  }

  get entries(): readonly ServerEntry[] {
    return this.#entries;
  }

  get current(): ServerEntry {
    return this.#entries[this.#current]!;
  }

  /** Place of the current server in `entries`. */
  get index(): number {
    return this.#current;
  }

  /** Those that are preferred to the one in use, when it is time to try them again. */
  startTrial(): readonly ServerEntry[] {
    this.trialMs = this.#clock.monotonicMs() + this.#resetAfterMs;
    return this.#entries.slice(0, this.#current);
  }

  /** Nothing happens where the list does not have the server any more. */
  switchTo(entry: ServerEntry): void {
    const index = this.#entries.indexOf(entry);
    if (index < 0) return;
    this.#current = index;
    this.trialMs = index === 0 ? Number.POSITIVE_INFINITY : this.#clock.monotonicMs() + this.#resetAfterMs;
  }

  /** Puts the same servers in another order, or leaves some out, and uses the first. */
  reorder(entries: readonly ServerEntry[]): void {
    this.#entries = [...entries];
    this.switchTo(this.#entries[0]!);
  }

  /** Throws USAGE for an empty list. */
  replace(sources: readonly Source[]): void {
    this.reorder(entriesOf(sources));
  }
}

function entriesOf(sources: readonly Source[]): ServerEntry[] {
  if (sources.length === 0) throw new ThimbleError('USAGE', 'Cannot fetch anything: there is no server');
  return sources.map((source) => ({
    source,
    ways: new Map(),
    requests: 0,
    failures: 0,
    bytes: 0,
    lastError: undefined,
    probedMs: undefined,
    notBeforeMs: Number.NEGATIVE_INFINITY,
  }));
}
