/**
 * Finds proxies for `auto`: the environment variable `http_proxy`, else the first PAC file that can be had (the de-facto standard
 * of Netscape's proxy auto-config; WPAD is a PAC file at `http://wpad/wpad.dat`), else what was found the last time.
 */

import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { HttpClient } from '../client/network/http-client.ts';
import { parseProxyGroups } from '../client/network/proxy-groups.ts';
import { HttpSource } from '../client/network/source.ts';
import { readWhole } from '../client/objects.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { type Clock, type Log, silentLog } from '../core/ports.ts';
import { nodeClock } from './clock.ts';
import { replaceFile } from './replace-file.ts';

const WPAD_URL = 'http://wpad/wpad.dat';
const MAX_PAC_BYTES = 1024 * 1024;
const FETCH_MS = 5_000;
/** A script has this much time without, and all of it with the names that it looks up. */
const SCRIPT_MS = 1_000;
const LOOK_UP_MS = 5_000;
const SCRIPT_MEMORY_BYTES = 32 * 1024 * 1024;

export interface DiscoveryOptions {
  /** `http://`, `https://` or `file://`; `auto` is `http://wpad/wpad.dat`, and so is an empty list. */
  readonly pacUrls: readonly string[];
  /** Where a result is kept for the time when none can be found. */
  readonly file?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly http: HttpClient;
  readonly log?: Log;
  readonly clock?: Clock;
}

export type Discovery = (servers: readonly string[]) => Promise<string[][]>;

/** The function finds groups of proxies for servers. It throws NETWORK where there is no way to any. */
export function proxyDiscovery(options: DiscoveryOptions): Discovery {
  const { file, environment, log = silentLog } = options;
  return async (servers) => {
    const given = environment['http_proxy'];
    if (given !== undefined && given !== '') return parseProxyGroups(given);
    const urls = options.pacUrls.length === 0 ? ['auto'] : options.pacUrls;
    let failure: unknown;
    for (const url of urls.map((one) => (one === 'auto' ? WPAD_URL : one))) {
      try {
        const text = await evaluatePac(await fetchPac(url, options), servers);
        if (file !== undefined) keep(file, text, log);
        return parseProxyGroups(text);
      } catch (error) {
        failure = error;
        log.warn('cannot use PAC file', { url, error: messageOf(error) });
      }
    }
    const before = file === undefined ? undefined : readKept(file);
    if (before !== undefined) return parseProxyGroups(before);
    throw new ThimbleError('NETWORK', 'Cannot find any proxy: no PAC file can be used', {
      hint: 'name a proxy in place of auto, or DIRECT, or set http_proxy',
      cause: failure,
    });
  };
}

async function fetchPac(url: string, { http, clock = nodeClock }: DiscoveryOptions): Promise<string> {
  if (url.startsWith('file://')) return readFileSync(url.slice('file://'.length), 'utf8');
  const slash = url.lastIndexOf('/');
  const deadlineMs = clock.monotonicMs() + FETCH_MS;
  const source = new HttpSource(http, url.slice(0, slash), undefined, { followRedirects: true });
  const file = await source.open(url.slice(slash + 1), { deadlineMs, noCache: false });
  try {
    return Buffer.from(await readWhole(file, MAX_PAC_BYTES)).toString('utf8');
  } finally {
    file.close();
  }
}

/**
 * What the script says about the servers, the first for which it names something that can be used, as `CVMFS_HTTP_PROXY` would
 * write it. The script runs in an engine of its own without any access to this process. Throws FORMAT.
 */
export async function evaluatePac(script: string, servers: readonly string[]): Promise<string> {
  const [{ createPacResolver }, { QuickJS }] = await Promise.all([
    import('pac-resolver'),
    import('quickjs-wasi'),
  ]);
  const endMs = performance.now() + SCRIPT_MS;
  const engine = await QuickJS.create({
    memoryLimit: SCRIPT_MEMORY_BYTES,
    interruptHandler: () => performance.now() > endMs,
  });
  try {
    const sandbox = { alert: () => {}, myIpAddress };
    const findProxy = createPacResolver(engine, script, { sandbox });
    for (const server of servers) {
      const groups = groupsOf(await inTime(findProxy(server)));
      if (groups !== '') return groups;
    }
  } catch (error) {
    throw new ThimbleError('FORMAT', 'Cannot use PAC file: the script fails', { cause: error });
  } finally {
    engine.dispose();
  }
  throw new ThimbleError('FORMAT', 'Cannot use PAC file: it names no proxy for any server');
}

/** `PROXY a:3128; DIRECT`: alternatives become groups; kinds that are not known are left out. */
function groupsOf(answer: unknown): string {
  return String(answer)
    .split(';')
    .map((part) => part.trim().split(/\s+/))
    .map(([kind = '', place = '']) => {
      const word = kind.toUpperCase();
      if (word === 'DIRECT') return 'DIRECT';
      if (place === '') return '';
      return word === 'PROXY' || word === 'HTTP'
        ? `http://${place}`
        : word === 'HTTPS'
          ? `https://${place}`
          : '';
    })
    .filter((group) => group !== '')
    .join(';');
}

/** The address of this machine, without asking anybody for it. */
async function myIpAddress(): Promise<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outer = all.find(({ family, internal }) => family === 'IPv4' && !internal);
  return outer?.address ?? '127.0.0.1';
}

async function inTime<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result within ${LOOK_UP_MS} ms`)), LOOK_UP_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function keep(file: string, text: string, log: Log): void {
  try {
    replaceFile(file, text);
  } catch (error) {
    log.warn('cannot keep the proxies that were found', { file, error: messageOf(error) });
  }
}

function readKept(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    // Nothing was found before.
    return undefined;
  }
}
