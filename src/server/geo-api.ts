/**
 * Answers which of some servers is nearest (docs/manual/replicate.md#the-nearest-server):
 *
 *   GET /cvmfs/<name>/api/v1.0/geo/<caching string>/<server>,...[,+PXYSEP+,<proxy>,...]
 *
 * The answer has the positions in that list, counted from 1, nearest first. With proxies, these are sorted from the asker,
 * and the servers from the nearest proxy; servers come first, then proxies, then the position of the separator.
 */

import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { ThimbleError } from '../core/errors.ts';
import type { GeoDatabase, Place } from './geo-database.ts';
import { orderByDistance } from './geo-order.ts';

export interface GeoAsker {
  /** `CF-Connecting-IP`. */
  readonly cloudflareAddress: string | undefined;
  /** `X-Forwarded-For`. */
  readonly forwardedFor: string | undefined;
  readonly peerAddress: string;
}

/** Addresses of a host, those of IPv4 first; none if it has none. */
export type ResolveName = (name: string) => Promise<readonly string[]>;

export interface GeoApiPorts {
  readonly monotonicMs: () => number;
  readonly resolve: ResolveName;
}

const SEPARATOR = '+PXYSEP+';
const MAX_NAMES = 64;
const MAX_NAME_LENGTH = 256;
const NAME = /^[0-9a-zA-Z.:-]+$/;
const KEEP_MS = 5 * 60_000;
/** Names that callers make up are forgotten again, the oldest first. */
const MAX_KEPT = 10_000;
const MAX_LOOKUPS = 256;
const LOOKUP_MS = 2000;

interface Kept {
  readonly addresses: Promise<readonly string[]>;
  readonly untilMs: number;
}

export class GeoApi {
  readonly #database: GeoDatabase | undefined;
  readonly #ports: GeoApiPorts;
  readonly #kept = new Map<string, Kept>();
  #lookups = 0;

  /** Without a database, the answer is the order of the request. */
  constructor(database: GeoDatabase | undefined, ports: GeoApiPorts) {
    this.#database = database;
    this.#ports = ports;
  }

  /**
   * `path` is what stands behind `geo/`, percent-encoded. Throws USAGE if it is no such request, NOT_FOUND if it is not known
   * where the asker is, or where any of the servers.
   */
  async answer(path: string, asker: GeoAsker): Promise<string> {
    const { caching, servers, proxies } = parseGeoPath(path);
    const order =
      this.#database === undefined
        ? [...servers.keys(), ...(proxies ?? []).map((_, i) => i + servers.length + 1)]
        : await this.#order(this.#database, caching, servers, proxies ?? [], asker);
    const positions = order.map((index) => index + 1);
    if (proxies !== undefined) positions.push(servers.length + 1);
    return `${positions.join(',')}\n`;
  }

  async #order(
    database: GeoDatabase,
    caching: string,
    servers: readonly string[],
    proxies: readonly string[],
    asker: GeoAsker,
  ): Promise<number[]> {
    const isCloudflare = asker.cloudflareAddress !== undefined;
    const place = async (name: string) => this.#placeOf(database, name, isCloudflare);
    const [from, serverPlaces, proxyPlaces] = await Promise.all([
      this.#askerPlace(database, caching, asker),
      Promise.all(servers.map(place)),
      Promise.all(proxies.map(place)),
    ]);
    if (from === undefined) throw new ThimbleError('NOT_FOUND', 'Cannot tell where this request comes from');
    if (serverPlaces.every((one) => one === undefined))
      throw new ThimbleError('NOT_FOUND', 'Cannot tell where any of the servers is');
    const proxyOrder = orderByDistance(from, proxyPlaces);
    const serverOrder = orderByDistance(proxyPlaces[proxyOrder[0] ?? 0] ?? from, serverPlaces);
    return [...serverOrder, ...proxyOrder.map((index) => index + servers.length + 1)];
  }

  /** Proxies name themselves in the caching string; else the headers of whoever passed the request on. */
  async #askerPlace(database: GeoDatabase, caching: string, asker: GeoAsker): Promise<Place | undefined> {
    const named = caching.includes('.') ? await this.#placeOf(database, caching, false) : undefined;
    if (named !== undefined) return named;
    const forwarded = asker.forwardedFor?.split(',').at(-1)?.trim();
    const address = [asker.cloudflareAddress, forwarded, asker.peerAddress].find(
      (one) => one !== undefined && isIP(one) !== 0,
    );
    return address === undefined ? undefined : database.placeOf(address);
  }

  /** Behind Cloudflare, servers have a second name `ip.<name>` for where they really are. */
  async #placeOf(database: GeoDatabase, name: string, isCloudflare: boolean): Promise<Place | undefined> {
    if (name.length > MAX_NAME_LENGTH || !NAME.test(name)) return undefined;
    if (isIP(name) !== 0) return database.placeOf(name);
    for (const candidate of isCloudflare ? [`ip.${name}`, name] : [name]) {
      for (const address of await this.#addressesOf(candidate)) {
        const place = database.placeOf(address);
        if (place !== undefined) return place;
      }
    }
    return undefined;
  }

  #addressesOf(name: string): Promise<readonly string[]> {
    const nowMs = this.#ports.monotonicMs();
    const kept = this.#kept.get(name);
    if (kept !== undefined && kept.untilMs > nowMs) return kept.addresses;
    // Whoever makes up many names gets no answer about them; those that are known are answered all the same.
    if (this.#lookups >= MAX_LOOKUPS) return Promise.resolve([]);
    this.#lookups++;
    const addresses = this.#ports
      .resolve(name)
      .catch(() => [])
      .finally(() => {
        this.#lookups--;
      });
    this.#kept.delete(name);
    this.#kept.set(name, { addresses, untilMs: nowMs + KEEP_MS });
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    return addresses;
  }
}

/** Throws USAGE. */
function parseGeoPath(path: string) {
  const parts = path.split('/').map(decode);
  const [caching, list] = parts;
  const names = list?.split(',') ?? [];
  const separator = names.indexOf(SEPARATOR);
  const isRequest = parts.length === 2 && caching !== undefined && list !== undefined && list !== '';
  if (!isRequest || names.length > MAX_NAMES || separator === 0) {
    throw new ThimbleError(
      'USAGE',
      `Cannot answer: the path has to end with geo/<caching string>/<servers>, at most ${MAX_NAMES} of them`,
    );
  }
  if (separator < 0) return { caching, servers: names, proxies: undefined };
  return { caching, servers: names.slice(0, separator), proxies: names.slice(separator + 1) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not percent-encoded UTF-8: no name that anybody has.
    return undefined;
  }
}

/** Asks the name servers of this machine; not through the threads that read files, which slow names would hold up. */
export function dnsResolver(): ResolveName {
  const resolver = new Resolver({ timeout: LOOKUP_MS, tries: 1 });
  return async (name) => {
    const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    return found.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
  };
}
