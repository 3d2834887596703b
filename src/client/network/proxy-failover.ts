/**
 * Which proxy is asked. One member of the first group is asked until it fails; then another one of the same group, and when all
 * of a group have failed, the next group. Members that failed are burned: they are tried again some time later, and the first
 * group is used again as soon as one of its members answers. Every address of a proxy's name is a member of its own.
 */

import { messageOf, ThimbleError } from '../../core/errors.ts';
import { type Clock, type Log, type Random, type Resolver, silentLog } from '../../core/ports.ts';
import { preferredAddresses } from './ip-family.ts';
import type { NetworkSettings } from './network-settings.ts';
import { DIRECT, DIRECT_MEMBER, isAddress, type ProxyMember, proxyMember } from './proxy-member.ts';
import { ProxyRing } from './proxy-ring.ts';
import { parseProxyUrl } from './url.ts';

export type ProxyOptions = Pick<
  NetworkSettings,
  'shardProxies' | 'maxAddressesPerProxy' | 'ipFamily' | 'proxyResetAfterMs'
>;

export interface ProxyPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log?: Log;
  /** Without one, a name is one member, and whoever connects looks it up. */
  readonly resolver?: Resolver | undefined;
}

/** The next one of the group or of the next group; one of the next group; any one of the group, by chance. */
export const OTHER_PROXIES = ['next', 'next-group', 'any'] as const;
export type OtherProxy = (typeof OTHER_PROXIES)[number];

export interface ProxyStatus {
  /** Counted from 1. */
  readonly group: number;
  /** Without a password. */
  readonly name: string;
  readonly isCurrent: boolean;
  /** It has failed, and is passed over until it is tried again. */
  readonly isBurned: boolean;
}

/** A name that cannot be looked up beside others that can is tried again after this. */
const LOOK_UP_AGAIN_MS = 60_000;

interface Group {
  readonly proxies: readonly string[];
  members: readonly ProxyMember[];
  readonly burned: Set<ProxyMember>;
  current: ProxyMember | undefined;
  ring: ProxyRing<ProxyMember> | undefined;
  /** Addresses may be believed until then. */
  validUntilMs: number;
  resolving: Promise<void> | undefined;
}

export class ProxyFailover {
  readonly #groups: readonly Group[];
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Log;
  readonly #resolver: Resolver | undefined;
  readonly #options: ProxyOptions;
  #index = 0;
  /** When members that failed are due to be tried again; never while there are none. */
  trialMs = Number.POSITIVE_INFINITY;

  /** No groups: no proxies. Throws USAGE for addresses that are none. */
  constructor(groups: readonly (readonly string[])[], ports: ProxyPorts, options: ProxyOptions) {
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#log = ports.log ?? silentLog;
    this.#resolver = ports.resolver;
    this.#options = options;
    const given = groups.filter((group) => group.length > 0);
    this.#groups = (given.length === 0 ? [[DIRECT]] : given).map((proxies) => this.#group(proxies));
  }

  /**
   * The member for a path. `undefined` where names have to be looked up first, which `ready` does; names that were looked up
   * too long ago are looked up again meanwhile.
   */
  pick(path: string, nowMs: number): ProxyMember | undefined {
    const group = this.#groups[this.#index]!;
    if (nowMs >= group.validUntilMs && group.members.length > 0) void this.#resolve(group);
    return group.ring === undefined ? group.current : group.ring.memberFor(path);
  }

  /** Looks up what `pick` needs. Throws NETWORK when no proxy has an address. */
  async ready(): Promise<void> {
    for (const _ of this.#groups) {
      const group = this.#groups[this.#index]!;
      if (group.current !== undefined) return;
      await this.#resolve(group);
      if (group.current !== undefined) return;
      this.#advance();
    }
    this.#reset();
    throw new ThimbleError('NETWORK', 'Cannot find the address of any proxy', {
      hint: 'check the names of the proxies, and the name servers of this machine',
      details: { phase: 'resolve' },
    });
  }

  /** A member failed: it is passed over for a while. */
  burn(member: ProxyMember): void {
    const group = this.#groups[this.#index]!;
    if (!group.members.includes(member) || group.burned.has(member)) return;
    group.burned.add(member);
    this.#startTrialTimer();
    this.#choose(group);
    if (group.current === undefined) this.#advance();
    this.#log.warn('switched to another proxy', { failed: member.name, proxy: this.current });
  }

  /** All servers failed: if they were asked directly and there is a proxy, it may know a way. */
  onAllServersFailed(): void {
    const { current } = this.#groups[this.#index]!;
    if (current === DIRECT_MEMBER && this.#groups.length > 1) this.burn(current);
  }

  /** Those that are due to be tried again: burned ones of the first group, and all of it where another one is in use. */
  async trialMembers(): Promise<readonly ProxyMember[]> {
    this.trialMs = this.#clock.monotonicMs() + this.#options.proxyResetAfterMs;
    const first = this.#groups[0]!;
    if (this.#clock.monotonicMs() >= first.validUntilMs) await this.#resolve(first);
    if (this.#index === 0) return [...first.burned];
    // Asked directly, a server says nothing about the way to it that it would not say to a reader.
    return first.members;
  }

  /** A member of the first group answers again. */
  restore(member: ProxyMember): void {
    const first = this.#groups[0]!;
    if (!first.members.includes(member)) return;
    first.burned.delete(member);
    if (this.#index > 0) {
      this.#log.info('back to the first group of proxies', { proxy: member.name });
      for (const { burned } of this.#groups.slice(1)) burned.clear();
      first.current = member;
    }
    this.#index = 0;
    this.#choose(first);
    if (first.burned.size === 0) this.trialMs = Number.POSITIVE_INFINITY;
  }

  /** Takes another member; those that are passed over count as failed. */
  switch(to: OtherProxy = 'next'): void {
    const group = this.#groups[this.#index]!;
    if (to === 'any') {
      group.current = undefined;
      this.#choose(group);
      return;
    }
    for (const member of to === 'next' ? [group.current] : group.members)
      if (member !== undefined) this.burn(member);
  }

  /** The name of the member in use; of a ring, any one. */
  get current(): string {
    const group = this.#groups[this.#index]!;
    return group.current?.name ?? proxyMember(group.proxies[0]!).name;
  }

  status(): ProxyStatus[] {
    return this.#groups.flatMap((group, index) => {
      const members =
        group.members.length > 0 ? group.members : group.proxies.map((proxy) => proxyMember(proxy));
      return members.map((member) => ({
        group: index + 1,
        name: member.name,
        isCurrent: index === this.#index && (group.ring !== undefined || member === group.current),
        isBurned: group.burned.has(member),
      }));
    });
  }

  #group(proxies: readonly string[]): Group {
    const isPlain = this.#resolver === undefined || proxies.every((proxy) => !hasName(proxy));
    const group: Group = {
      proxies,
      // Also finds out whether they are addresses at all.
      members: proxies.map((proxy) => proxyMember(proxy)),
      burned: new Set(),
      current: undefined,
      ring: undefined,
      validUntilMs: Number.POSITIVE_INFINITY,
      resolving: undefined,
    };
    if (isPlain) this.#choose(group);
    else Object.assign(group, { members: [], validUntilMs: Number.NEGATIVE_INFINITY });
    return group;
  }

  /** Chooses among the members that are not burned; the one in use stays. */
  #choose(group: Group): void {
    const good = group.members.filter((member) => !group.burned.has(member));
    if (group.current === undefined || !good.includes(group.current))
      group.current = good[Math.floor(this.#random.fraction() * good.length)];
    group.ring = this.#options.shardProxies && good.length > 1 ? new ProxyRing(good) : undefined;
  }

  /** To the next group that has not failed; where there is none, everything is tried anew. */
  #advance(): void {
    while (++this.#index < this.#groups.length) {
      const { current, members } = this.#groups[this.#index]!;
      if (current !== undefined || members.length === 0) {
        this.#startTrialTimer();
        return;
      }
    }
    this.#reset();
  }

  #reset(): void {
    this.#index = 0;
    this.trialMs = Number.POSITIVE_INFINITY;
    for (const group of this.#groups) {
      group.burned.clear();
      this.#choose(group);
    }
  }

  #startTrialTimer(): void {
    if (this.trialMs === Number.POSITIVE_INFINITY)
      this.trialMs = this.#clock.monotonicMs() + this.#options.proxyResetAfterMs;
  }

  #resolve(group: Group): Promise<void> {
    group.resolving ??= this.#lookUp(group).finally(() => {
      group.resolving = undefined;
    });
    return group.resolving;
  }

  /** Looks up all names of a group. Never throws: what has no address is left out, or keeps those that it had. */
  async #lookUp(group: Group): Promise<void> {
    let validMs = Number.POSITIVE_INFINITY;
    const known = new Map(group.members.map((member) => [member.name, member]));
    const found = await Promise.all(
      group.proxies.map(async (proxy) => {
        try {
          const { addresses, ttlSeconds } = await this.#addressesOf(proxy);
          validMs = Math.min(validMs, ttlSeconds * 1000);
          return addresses.map((address) => proxyMember(proxy, address));
        } catch (error) {
          this.#log.warn('cannot look up a proxy', { error: messageOf(error) });
          validMs = Math.min(validMs, LOOK_UP_AGAIN_MS);
          const { text } = parseProxyUrl(proxy);
          return group.members.filter(({ name }) => name === text || name.startsWith(`${text} (`));
        }
      }),
    );
    group.members = found.flat().map((member) => known.get(member.name) ?? member);
    for (const member of group.burned) if (!group.members.includes(member)) group.burned.delete(member);
    group.validUntilMs = this.#clock.monotonicMs() + validMs;
    this.#choose(group);
  }

  async #addressesOf(proxy: string) {
    if (this.#resolver === undefined || !hasName(proxy))
      return { addresses: [undefined], ttlSeconds: Number.POSITIVE_INFINITY };
    const { host } = parseProxyUrl(proxy).target;
    const { addresses, ttlSeconds } = await this.#resolver.resolve(host);
    const usable = preferredAddresses(addresses, this.#options.ipFamily);
    const { maxAddressesPerProxy } = this.#options;
    if (maxAddressesPerProxy > 0) {
      while (usable.length > maxAddressesPerProxy)
        usable.splice(Math.floor(this.#random.fraction() * usable.length), 1);
    }
    return { addresses: usable, ttlSeconds };
  }
}

function hasName(proxy: string): boolean {
  return proxy !== DIRECT && !isAddress(parseProxyUrl(proxy).target.host);
}
