/**
 * Addresses of names, from `/etc/hosts`, the name servers of this machine, and whatever else it knows. Answers are kept for as
 * long as they say, and longer when name servers fail: an old address is better than none.
 */

import { lookup, Resolver as NameServers } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { ThimbleError } from '../core/errors.ts';
import type { Clock, ResolvedName, Resolver } from '../core/ports.ts';
import { nodeClock } from './clock.ts';

/** Whatever the answer says: not more often than this, and not never. */
const MIN_TTL_SECONDS = 60;
const MAX_TTL_SECONDS = 86_400;
const TIMEOUT_MS = 3_000;
const TRIES = 2;
/** When one family is here, the other one gets this much longer (RFC 8305). */
const OTHER_FAMILY_MS = 100;
const MAX_KEPT = 1_000;

export interface ResolverOptions {
  readonly clock?: Clock;
  /** `address:port` of name servers, in place of those of this machine. */
  readonly nameServers?: readonly string[];
  readonly hostsFile?: string;
  /** For both tries together: the first takes a third of it, the second the rest. */
  readonly timeoutMs?: number;
}

interface Answer {
  readonly addresses: readonly string[];
  readonly ttlSeconds: number;
}

export function createResolver(options: ResolverOptions = {}): Resolver {
  const { clock = nodeClock } = options;
  const kept = new Map<string, { name: ResolvedName; untilMs: number }>();
  const underWay = new Map<string, Promise<ResolvedName>>();

  const ask = async (host: string): Promise<ResolvedName> => {
    try {
      const { addresses, ttlSeconds } = await lookUp(host, options);
      const name = {
        addresses,
        ttlSeconds: Math.min(Math.max(ttlSeconds, MIN_TTL_SECONDS), MAX_TTL_SECONDS),
      };
      if (kept.size >= MAX_KEPT) kept.delete(kept.keys().next().value!);
      kept.set(host, { name, untilMs: clock.monotonicMs() + name.ttlSeconds * 1000 });
      return name;
    } catch (error) {
      const before = kept.get(host);
      if (before !== undefined) return { ...before.name, ttlSeconds: MIN_TTL_SECONDS };
      const { code, message } = error as NodeJS.ErrnoException;
      throw new ThimbleError('NETWORK', `Cannot find the address of ${host}: ${code ?? message}`, {
        details: { phase: 'resolve' },
        cause: error,
      });
    }
  };

  return {
    resolve(host) {
      if (isIP(host) !== 0) return Promise.resolve({ addresses: [host], ttlSeconds: MAX_TTL_SECONDS });
      const before = kept.get(host);
      if (before !== undefined && clock.monotonicMs() < before.untilMs) return Promise.resolve(before.name);
      let asking = underWay.get(host);
      if (asking === undefined) {
        asking = ask(host).finally(() => underWay.delete(host));
        underWay.set(host, asking);
      }
      return asking;
    },
  };
}

export const nodeResolver = createResolver();

/** Those of IPv4 first: where IPv6 is broken, it mostly is so silently. */
async function lookUp(host: string, options: ResolverOptions): Promise<Answer> {
  const { timeoutMs = TIMEOUT_MS } = options;
  const fixed = addressesInFile(options.hostsFile ?? '/etc/hosts', host);
  if (fixed.length > 0) return { addresses: fixed, ttlSeconds: MIN_TTL_SECONDS };
  // A new one each time: the name servers of a machine change with its networks.
  const servers = new NameServers({ timeout: timeoutMs / (2 ** TRIES - 1), tries: TRIES });
  if (options.nameServers !== undefined) servers.setServers(options.nameServers);
  try {
    return await askNameServers(servers, host, timeoutMs);
  } catch (error) {
    // Names without a domain, and those of the local network, the system knows better; silence it cannot mend.
    if ((error as NodeJS.ErrnoException).code === 'ETIMEOUT' || options.nameServers !== undefined)
      throw error;
    const found = await within(timeoutMs, lookup(host, { all: true }));
    return { addresses: found.map(({ address }) => address), ttlSeconds: MIN_TTL_SECONDS };
  }
}

async function askNameServers(servers: NameServers, host: string, timeoutMs: number): Promise<Answer> {
  const questions = [servers.resolve4(host, { ttl: true }), servers.resolve6(host, { ttl: true })];
  const found: { address: string; ttl: number }[][] = [[], []];
  const answers = questions.map((question, i) =>
    question.then((records) => {
      found[i] = records;
    }),
  );
  await within(timeoutMs, Promise.any(answers)).catch((error) => {
    throw error instanceof AggregateError ? error.errors[0] : error;
  });
  await within(OTHER_FAMILY_MS, Promise.allSettled(answers)).catch(() => servers.cancel());
  const records = found.flat();
  return {
    addresses: records.map(({ address }) => address),
    ttlSeconds: Math.min(...records.map(({ ttl }) => ttl)),
  };
}

/** Lines of an address and the names that it has; what stands behind `#` is for people. */
function addressesInFile(path: string, host: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    // Not every machine has one.
    return [];
  }
  const wanted = host.toLowerCase();
  return text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().toLowerCase().split(/\s+/))
    .filter(([address, ...names]) => isIP(address ?? '') !== 0 && names.includes(wanted))
    .map(([address]) => address!);
}

/** Throws ETIMEOUT, as name servers that are silent do. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('no answer'), { code: 'ETIMEOUT' })), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
