/**
 * The servers of a repository, in order of preference, and the proxies on the way to them. One file is asked for until it is
 * here: by another proxy where a proxy failed, from the next server where a server failed, past caches after damaged data, all
 * of them again after a pause, and never beyond the deadline (docs/manual/network.md).
 */

import { inTime, sleep } from '../../core/cancellation.ts';
import { errorCodeOf, ThimbleError } from '../../core/errors.ts';
import { MANIFEST_PATH } from '../../core/manifest.ts';
import { type Clock, type Log, type Random, silentLog } from '../../core/ports.ts';
import type { ByteRange } from '../../core/vfs.ts';
import { readWhole } from '../objects.ts';
import { cancelled, hasBroken, isOfProxy, isOfServer, moreTelling, outOfTime } from './failures.ts';
import { askGeoOrder, MAX_GEO_ANSWER_BYTES } from './geo-order.ts';
import { type OtherProxy, ProxyFailover } from './proxy-failover.ts';
import { AUTO, withFallbackGroups } from './proxy-groups.ts';
import { DIRECT_MEMBER, type ProxyMember } from './proxy-member.ts';
import { type ServerEntry, ServerList } from './server-list.ts';
import {
  DEFAULT_SERVERS_OPTIONS,
  type FetchOptions,
  type ServerAnswer,
  type ServersOptions,
  type ServersPorts,
} from './servers-options.ts';
import { type ServersStatus, statusOf } from './servers-status.ts';
import type { OpenOptions, Source, SourceFile } from './source.ts';
import { type ServersCounters, Traffic } from './traffic.ts';
import type { Consume, Wish } from './wish.ts';

interface FailedRound {
  readonly failure: unknown;
  /** At least one server may do better the next time. */
  readonly isTransient: boolean;
  /** Not all of them wanted to be left alone. */
  readonly wasAsked: boolean;
}

/** Servers that are asked at the same time by `fetchFromEach`. */
const MAX_AT_ONCE = 4;
/** For questions on the side: which server is near, is it back. */
const SIDE_QUESTION_MS = 5_000;
/** The longest that a server can ask to be left alone. */
const MAX_LEFT_ALONE_MS = 60_000;
/** However long a round of failures took, the next one does not follow at once. */
const LEAST_PAUSE = 0.1;
const NO_OPTIONS: FetchOptions = {};

export class Servers {
  readonly #list: ServerList;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Log;
  readonly #ports: ServersPorts;
  readonly #options: ServersOptions;
  readonly #traffic: Traffic;
  #proxies: ProxyFailover;
  #isTrying = false;
  #hasContact = false;
  /** What has to be known ahead of the first request. */
  #mustStart: boolean;
  #starting: Promise<void> | undefined;

  /** Throws USAGE without any server, and for proxies that are none. */
  constructor(sources: readonly Source[], ports: ServersPorts, options: Partial<ServersOptions> = {}) {
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#log = ports.log ?? silentLog;
    this.#ports = ports;
    this.#options = { ...DEFAULT_SERVERS_OPTIONS, ...options };
    this.#traffic = new Traffic(ports.clock);
    const { geoOrder, maxServers, proxyGroups, fallbackProxyGroups, hostResetAfterMs } = this.#options;
    const isOrdered = !geoOrder || sources.length < 2;
    const used = isOrdered && maxServers > 0 ? sources.slice(0, maxServers) : sources;
    this.#list = new ServerList(used, this.#clock, hostResetAfterMs);
    const groups = withFallbackGroups(proxyGroups, fallbackProxyGroups);
    const isAuto = groups.some(([first]) => first === AUTO);
    this.#proxies = this.#failover(isAuto ? [] : groups);
    this.#mustStart = !isOrdered || isAuto;
  }

  get counters(): ServersCounters {
    return this.#traffic.counters;
  }

  /** Nobody is asked for anything as long as this is so. */
  isOffline = false;

  /** When a request that begins now is over, on the clock's `monotonicMs`. */
  untilMs(): number {
    return this.#clock.monotonicMs() + this.#options.deadlineMs;
  }

  /** The server in use. */
  get current(): string {
    return this.#list.current.source.name;
  }

  /**
   * Gets a file, or a range of it, and hands it to `consume`, whose result is the answer. If `consume` throws FORMAT,
   * INTEGRITY, TRUST, LIMIT or UNSUPPORTED, the data is bad and another server is asked. Throws NOT_FOUND when every server
   * says so, NETWORK, CANCELLED, or what `consume` threw last.
   */
  async fetch<T>(
    path: string,
    consume: Consume<T>,
    range?: ByteRange | undefined,
    options: FetchOptions = NO_OPTIONS,
  ): Promise<T> {
    return this.#ask({ ...this.#wish(path, options, consume), range }, options.rounds);
  }

  /** Asks whether a file is there, and for its size where the server says it. Throws NOT_FOUND, NETWORK. */
  async probe(path: string): Promise<number | undefined> {
    const wish = this.#wish(path, NO_OPTIONS, async (file: SourceFile) => file.sizeBytes);
    return this.#ask({ ...wish, headOnly: true }, undefined);
  }

  /**
   * Asks every server for a file, once and in the background, also those that have failed before: to compare what they say.
   * Never throws; answers stand in the order of the list.
   */
  async fetchFromEach<T>(
    path: string,
    consume: Consume<T>,
    options: FetchOptions = NO_OPTIONS,
  ): Promise<ServerAnswer<T>[]> {
    await this.#start().catch(() => {});
    const deadlineMs = Math.min(options.deadlineMs ?? this.#options.deadlineMs, SIDE_QUESTION_MS);
    const answers: ServerAnswer<T>[] = [];
    const entries = [...this.#list.entries.entries()];
    const ask = async () => {
      for (let next = entries.shift(); next !== undefined; next = entries.shift()) {
        const [index, entry] = next;
        const server = entry.source.name;
        try {
          const wish = this.#wish(path, { ...options, background: true, deadlineMs }, consume);
          const source = this.#through(entry, await this.#proxyFor(entry, wish));
          answers[index] = { server, value: await this.#attempt(entry, source, wish, wish.noCache) };
        } catch (error) {
          answers[index] = { server, error };
        }
      }
    };
    await Promise.all(Array.from({ length: MAX_AT_ONCE }, ask));
    return answers;
  }

  // ---- what people tell it ----

  /** Uses the next server, or the one with this address. Throws USAGE for one that is not in the list. */
  switchServer(address?: string): void {
    const { entries, index } = this.#list;
    const entry =
      address === undefined
        ? entries[(index + 1) % entries.length]
        : entries.find(({ source }) => source.name === address);
    if (entry === undefined) {
      throw new ThimbleError('USAGE', `Cannot switch to ${address}: it is not one of the servers`, {
        hint: `the servers are ${entries.map(({ source }) => source.name).join(', ')}`,
      });
    }
    this.#list.switchTo(entry);
  }

  /** Uses another proxy. */
  switchProxy(to: OtherProxy = 'next'): void {
    this.#proxies.switch(to);
  }

  /** Other servers from now on. Throws USAGE. */
  setServers(addresses: readonly string[]): void {
    const { sourceOf } = this.#ports;
    if (sourceOf === undefined) throw new ThimbleError('UNSUPPORTED', 'Cannot change the servers here');
    this.#list.replace(addresses.map((address) => sourceOf(address)));
  }

  /** Other proxies from now on; `auto` is not possible here. Throws USAGE. */
  setProxies(groups: readonly (readonly string[])[]): void {
    this.#proxies = this.#failover(groups);
  }

  /** Puts the servers in the order of the time that they take for the manifest. Those that do not answer come last. */
  async probeOrder(): Promise<void> {
    for (const entry of this.#list.entries) {
      // The first time opens the connection.
      await this.#isAlive(entry, MANIFEST_PATH);
      const startedMs = this.#clock.monotonicMs();
      const isAlive = await this.#isAlive(entry, MANIFEST_PATH);
      entry.probedMs = isAlive ? this.#clock.monotonicMs() - startedMs : 'down';
    }
    const msOf = ({ probedMs }: ServerEntry) => (typeof probedMs === 'number' ? probedMs : Number.MAX_VALUE);
    this.#list.reorder([...this.#list.entries].sort((a, b) => msOf(a) - msOf(b)));
  }

  status(): ServersStatus {
    return statusOf(this.#list, this.#proxies, this.#traffic);
  }

  // ---- one request ----

  #wish<T>(path: string, options: FetchOptions, consume: Consume<T>): Wish<T> {
    const deadlineMs = this.#clock.monotonicMs() + (options.deadlineMs ?? this.#options.deadlineMs);
    const { untilMs } = options;
    return {
      path,
      range: undefined,
      headOnly: false,
      background: options.background ?? false,
      urgency: options.urgency,
      noCache: options.noCache ?? false,
      signal: options.signal,
      deadlineMs: untilMs === undefined ? deadlineMs : Math.min(deadlineMs, untilMs),
      consume,
    };
  }

  async #ask<T>(wish: Wish<T>, rounds: number | undefined): Promise<T> {
    if (this.isOffline) {
      throw new ThimbleError('NETWORK', `Cannot get ${wish.path}: this mount was told to ask no servers`, {
        hint: 'let it ask again with: thimble network online DIR',
        details: { answered: 'no' },
      });
    }
    // Nobody is to blame for what was asked too late.
    if (this.#clock.monotonicMs() >= wish.deadlineMs) throw outOfTime(wish.path);
    if (this.#mustStart) await this.#limited(this.#start(), 'find a way to the servers', wish);
    this.#tryFormerWays(wish.path);
    let failure: unknown;
    for (let round = 0; ; ) {
      const startedMs = this.#clock.monotonicMs();
      const outcome = await this.#askAll(wish);
      if ('value' in outcome) return outcome.value;
      failure = moreTelling(failure, outcome.failure);
      if (outcome.wasAsked) round++;
      // Absent, damaged or untrusted everywhere: asking again would not help.
      if (!outcome.isTransient || round >= (rounds ?? this.#rounds)) throw failure;
      this.#proxies.onAllServersFailed();
      if (!(await this.#pause(Math.max(round, 1), startedMs, wish))) throw failure;
    }
  }

  get #rounds(): number {
    const { rounds, firstContactRounds } = this.#options;
    return this.#hasContact ? rounds : Math.min(rounds, firstContactRounds);
  }

  /** Every server once, beginning with the one in use. Throws what no server can mend. */
  async #askAll<T>(wish: Wish<T>): Promise<{ readonly value: T } | FailedRound> {
    const { entries, index: first, current } = this.#list;
    let failure: unknown;
    let isTransient = false;
    let wasAsked = false;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[(first + i) % entries.length]!;
      if (this.#clock.monotonicMs() < entry.notBeforeMs) {
        failure ??= new ThimbleError('NETWORK', `Cannot ask ${entry.source.name}: it wants to be left alone`);
        isTransient = true;
        continue;
      }
      wasAsked = true;
      try {
        const value = await this.#askServer(entry, wish);
        this.#hasContact = true;
        if (entry !== current && current === this.#list.current) this.#switchTo(entry);
        return { value };
      } catch (error) {
        const code = errorCodeOf(error);
        if (!isOfServer(error)) throw error;
        if (code === 'NETWORK') isTransient = true;
        else this.#hasContact = true;
        failure = moreTelling(failure, error);
        this.#log.warn('fetch failed', { path: wish.path, server: entry.source.name, error: String(error) });
      }
      if (this.#clock.monotonicMs() >= wish.deadlineMs) break;
    }
    return { failure, isTransient, wasAsked };
  }

  #switchTo(entry: ServerEntry): void {
    this.#log.info('switched to another server', { server: entry.source.name });
    this.#list.switchTo(entry);
  }

  /** One server, by one proxy after the other until one does not fail itself. */
  async #askServer<T>(entry: ServerEntry, wish: Wish<T>): Promise<T> {
    let failed: Set<ProxyMember> | undefined;
    for (;;) {
      const proxy = await this.#proxyFor(entry, wish);
      try {
        return await this.#askOneWay(entry, this.#through(entry, proxy), wish);
      } catch (error) {
        if (proxy === DIRECT_MEMBER || !isOfProxy(error) || failed?.has(proxy)) throw error;
        failed ??= new Set();
        failed.add(proxy);
        this.#proxies.burn(proxy);
        const next = this.#proxies.pick(wish.path, this.#clock.monotonicMs());
        if (next !== undefined && failed.has(next)) throw error;
        if (this.#clock.monotonicMs() >= wish.deadlineMs) throw error;
      }
    }
  }

  /** Once more where the connection broke, once more past caches where the data is bad. */
  async #askOneWay<T>(entry: ServerEntry, source: Source, wish: Wish<T>): Promise<T> {
    for (let retries = 0; ; retries++) {
      try {
        return await this.#attempt(entry, source, wish, wish.noCache);
      } catch (error) {
        const code = errorCodeOf(error);
        if (code === 'INTEGRITY' || code === 'FORMAT') {
          // A cache on the way may hold a damaged copy.
          const fields = { path: wish.path, server: source.name, error: String(error) };
          this.#log.warn('bad data, asking again without caches', fields);
          source.forgetConnections?.();
          return this.#attempt(entry, source, wish, true);
        }
        if (retries >= this.#options.maxRetries || !hasBroken(error)) throw error;
        if (this.#clock.monotonicMs() >= wish.deadlineMs) throw error;
      }
    }
  }

  async #attempt<T>(entry: ServerEntry, source: Source, wish: Wish<T>, noCache: boolean): Promise<T> {
    const { path, range, headOnly, background, urgency, signal, deadlineMs } = wish;
    if (signal?.isCancelled) throw cancelled(path);
    const startedMs = this.#traffic.began(entry, background);
    // A folder of this machine is never out of reach.
    let isAnswered = source.host === undefined;
    try {
      const options: OpenOptions = { deadlineMs, noCache, range, headOnly, background, urgency, signal };
      const file = await source.open(path, options);
      isAnswered = true;
      try {
        return await wish.consume(this.#traffic.counted(file, entry), deadlineMs);
      } finally {
        file.close();
      }
    } catch (error) {
      if (!isOfServer(error)) throw error;
      this.#traffic.failed(entry, path, source.name, error);
      if (error.code !== 'NETWORK') throw error;
      this.#leaveAlone(entry, error);
      throw new ThimbleError('NETWORK', `Cannot get ${path} from ${source.name}`, {
        hint: 'check that the server runs and that this machine can reach it',
        details: { ...error.details, answered: isAnswered || 'status' in error.details ? 'yes' : 'no' },
        cause: error,
      });
    } finally {
      this.#traffic.ended(startedMs, path, source.name, background);
    }
  }

  #leaveAlone(entry: ServerEntry, { details }: ThimbleError): void {
    const seconds = details['retryAfterSeconds'];
    if (typeof seconds !== 'number') return;
    entry.notBeforeMs = this.#clock.monotonicMs() + Math.min(seconds * 1000, MAX_LEFT_ALONE_MS);
  }

  /**
   * Waits before another round; false if there is no time for one. Rounds begin `backoffMaxMs` apart at most, unless the servers
   * take longer to fail or want to be left alone for longer.
   */
  async #pause<T>(round: number, startedMs: number, wish: Wish<T>): Promise<boolean> {
    const { backoffInitMs, backoffMaxMs } = this.#options;
    const now = this.#clock.monotonicMs();
    const longest = Math.min(backoffInitMs * 2 ** (round - 1), backoffMaxMs);
    const period = longest * (0.5 + this.#random.fraction() / 2);
    const pause = Math.max(period - (now - startedMs), period * LEAST_PAUSE);
    const leftAloneMs = Math.min(...this.#list.entries.map(({ notBeforeMs }) => notBeforeMs)) - now;
    const waitMs = Math.max(pause, leftAloneMs);
    if (now + waitMs >= wish.deadlineMs) return false;
    await sleep(this.#clock, waitMs, wish.signal);
    if (wish.signal?.isCancelled) throw cancelled(wish.path);
    return true;
  }

  // ---- ways ----

  #failover(groups: readonly (readonly string[])[]): ProxyFailover {
    return new ProxyFailover(groups, this.#ports, this.#options);
  }

  /** Throws NETWORK when no proxy has an address. */
  async #proxyFor<T>(entry: ServerEntry, wish: Wish<T>): Promise<ProxyMember> {
    if (entry.source.through === undefined) return DIRECT_MEMBER;
    const proxies = this.#proxies;
    for (;;) {
      const proxy = proxies.pick(wish.path, this.#clock.monotonicMs());
      if (proxy !== undefined) return proxy;
      await this.#limited(proxies.ready(), 'look up proxies', wish);
    }
  }

  /** Other requests may go on waiting for the same. */
  #limited<T>(promise: Promise<void>, what: string, { deadlineMs, signal }: Wish<T>): Promise<void> {
    return inTime(promise, what, { clock: this.#clock, deadlineMs, signal });
  }

  #through(entry: ServerEntry, proxy: ProxyMember): Source {
    const { source, ways } = entry;
    if (proxy === DIRECT_MEMBER || source.through === undefined) return source;
    let way = ways.get(proxy);
    if (way === undefined) {
      way = source.through(proxy);
      ways.set(proxy, way);
    }
    return way;
  }

  /** Goes back to preferred servers and proxies when it is time, and only when they answer: no reader waits for that. */
  #tryFormerWays(path: string): void {
    const now = this.#clock.monotonicMs();
    if ((now < this.#list.trialMs && now < this.#proxies.trialMs) || this.#isTrying) return;
    this.#isTrying = true;
    void this.#trial(path, now).finally(() => {
      this.#isTrying = false;
    });
  }

  async #trial(path: string, now: number): Promise<void> {
    const proxies = this.#proxies;
    if (now >= proxies.trialMs) {
      for (const member of await proxies.trialMembers())
        if (await this.#isAlive(this.#list.current, path, member)) proxies.restore(member);
    }
    if (now < this.#list.trialMs) return;
    for (const entry of this.#list.startTrial()) {
      if (await this.#isAlive(entry, path)) return this.#switchTo(entry);
    }
  }

  async #isAlive(entry: ServerEntry, path: string, proxy?: ProxyMember): Promise<boolean> {
    const nothing = async () => true;
    const options = { background: true, deadlineMs: Math.min(SIDE_QUESTION_MS, this.#options.deadlineMs) };
    const wish = { ...this.#wish(path, options, nothing), headOnly: true };
    try {
      const source = this.#through(entry, proxy ?? (await this.#proxyFor(entry, wish)));
      // What a proxy has kept says nothing about the server.
      return await this.#attempt(entry, source, wish, true);
    } catch {
      // It stays passed over; the figures of the server say why.
      return false;
    }
  }

  // ---- start ----

  /** Finds out about proxies and the order of servers, once. Throws what keeps it from finding any proxy. */
  #start(): Promise<void> {
    if (!this.#mustStart) return Promise.resolve();
    this.#starting ??= this.#prepare().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #prepare(): Promise<void> {
    const { proxyGroups, fallbackProxyGroups, geoOrder, maxServers } = this.#options;
    if (proxyGroups.some(([first]) => first === AUTO)) {
      const addresses = this.#list.entries.map(({ source }) => source.name);
      const found = (await this.#ports.discoverProxies?.(addresses)) ?? [];
      const groups = proxyGroups.flatMap((group) => (group[0] === AUTO ? found : [group]));
      this.setProxies(withFallbackGroups(groups, fallbackProxyGroups));
    }
    if (geoOrder) {
      const { entries } = this.#list;
      const order = await this.#geoOrder(entries);
      const ordered = order?.map((index) => entries[index]!) ?? entries;
      this.#list.reorder(maxServers > 0 ? ordered.slice(0, maxServers) : ordered);
    }
    this.#mustStart = false;
  }

  async #geoOrder(entries: readonly ServerEntry[]): Promise<number[] | undefined> {
    const hosts = entries.map(({ source }) => source.host);
    if (hosts.length < 2 || !hosts.every((host) => host !== undefined)) return undefined;
    const consume = (file: SourceFile) => readWhole(file, MAX_GEO_ANSWER_BYTES);
    const question = () => this.#wish('', { deadlineMs: SIDE_QUESTION_MS }, consume);
    const proxy = await this.#proxyFor(entries[0]!, question()).catch(() => undefined);
    return askGeoOrder({
      hosts,
      proxyHost: proxy?.target?.host,
      random: this.#random,
      ask: async (index, path) => {
        const entry = entries[index]!;
        const wish = { ...question(), path };
        const source = this.#through(entry, await this.#proxyFor(entry, wish));
        return this.#attempt(entry, source, wish, wish.noCache);
      },
    });
  }
}
