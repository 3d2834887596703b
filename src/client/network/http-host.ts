/**
 * The connections to one host. Requests for somebody who waits have all of them; those in the background have a few of their
 * own on top, so that nobody ever waits for these.
 */

import { type CancelSignal, inTime } from '../../core/cancellation.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Clock, Sockets, SocketTarget } from '../../core/ports.ts';
import { Channel } from './http-channel.ts';
import type { Urgency } from './urgency.ts';

export interface HostOptions {
  /** Connections to one host at a time; further requests wait for one to be free. */
  readonly maxConnectionsPerHost: number;
  /** Idle connections are closed after this; servers do so too, and sooner or later one meets the other. */
  readonly idleTimeoutMs: number;
}

/** Background requests have one connection for every so many of the others. */
const FOREGROUND_SHARE = 4;
const NO_SHARING_MS = 60_000;

interface Waiter {
  /** Gets a connection, or nothing but the permission to open one. */
  readonly take: (channel: Channel | undefined) => void;
}

/** Requests of one urgency. */
export class Lane {
  readonly limit: number;
  busy = 0;
  readonly waiting: Waiter[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  get isFull(): boolean {
    return this.busy >= this.limit;
  }
}

export interface Wanted {
  readonly deadlineMs: number;
  readonly connectTimeoutMs: number;
  readonly background: boolean;
  /** Raised, it is one of the foreground. */
  readonly urgency: Urgency | undefined;
  readonly signal: CancelSignal | undefined;
}

export class Host {
  readonly #sockets: Sockets;
  readonly #clock: Clock;
  readonly #target: SocketTarget;
  readonly #options: HostOptions;
  readonly #idle: { channel: Channel; sinceMs: number }[] = [];
  readonly #foreground: Lane;
  readonly #background: Lane;
  /** Connections with requests that were made ahead of need. */
  readonly #ahead = new Set<Channel>();
  #sharesAfterMs = 0;
  #closed = false;

  constructor(sockets: Sockets, clock: Clock, target: SocketTarget, options: HostOptions) {
    this.#sockets = sockets;
    this.#clock = clock;
    this.#target = target;
    this.#options = options;
    this.#foreground = new Lane(options.maxConnectionsPerHost);
    this.#background = new Lane(Math.ceil(options.maxConnectionsPerHost / FOREGROUND_SHARE));
  }

  /** A connection for one request. Throws NETWORK, CANCELLED. */
  async acquire(wanted: Wanted): Promise<Channel> {
    for (;;) {
      const isAhead = wanted.background && wanted.urgency?.isRaised !== true;
      const isShort = isAhead && wanted.urgency?.isShort === true;
      const lane = isAhead ? this.#background : this.#foreground;
      if (!lane.isFull) {
        lane.busy++;
        const idle = this.#takeIdle();
        if (idle === undefined) return this.#connect(lane, wanted);
        idle.lane = lane;
        idle.promise(isShort);
        if (isAhead) this.#ahead.add(idle);
        return idle;
      }
      const shared = isShort ? this.#shared() : undefined;
      if (shared !== undefined) return shared;
      const channel = await this.#wait(lane, wanted);
      if (channel !== undefined) return channel;
    }
  }

  /** A connection is free. */
  release(channel: Channel): void {
    this.#leave(channel);
    const lane = this.#nextLane();
    if (lane !== undefined) {
      channel.lane = lane;
      lane.busy++;
      if (lane === this.#background) this.#ahead.add(channel);
      lane.waiting.shift()!.take(channel);
    } else if (this.#closed || this.#idle.length >= this.#options.maxConnectionsPerHost) channel.close();
    else this.#idle.push({ channel, sinceMs: this.#clock.monotonicMs() });
  }

  /** A connection is gone: whoever waits may open another. */
  dropped(channel: Channel): void {
    if (this.#leave(channel)) this.#nextLane()?.waiting.shift()?.take(undefined);
  }

  /** For a while, requests are not sent one behind the other: something on the way may not bear it. */
  doNotShare(): void {
    this.#sharesAfterMs = this.#clock.monotonicMs() + NO_SHARING_MS;
  }

  /** Closes connections that nobody uses: where one has died without a word, the others mostly have too. */
  dropIdle(): void {
    for (const { channel } of this.#idle.splice(0)) channel.close();
  }

  close(): void {
    this.#closed = true;
    this.dropIdle();
  }

  #leave(channel: Channel): boolean {
    const { lane } = channel;
    if (lane === undefined) return false;
    lane.busy--;
    channel.lane = undefined;
    this.#ahead.delete(channel);
    return true;
  }

  /** A connection in use that one more short request ahead of need may be sent on. */
  #shared(): Channel | undefined {
    if (this.#clock.monotonicMs() < this.#sharesAfterMs) return undefined;
    for (const channel of this.#ahead) {
      if (!channel.canBeFollowed) continue;
      // The next one goes to the next.
      this.#ahead.delete(channel);
      this.#ahead.add(channel);
      channel.promise(true);
      return channel;
    }
    return undefined;
  }

  /** Whose turn it is. */
  #nextLane(): Lane | undefined {
    if (this.#foreground.waiting.length > 0 && !this.#foreground.isFull) return this.#foreground;
    return this.#background.waiting.length > 0 && !this.#background.isFull ? this.#background : undefined;
  }

  #takeIdle(): Channel | undefined {
    const now = this.#clock.monotonicMs();
    for (let entry = this.#idle.pop(); entry !== undefined; entry = this.#idle.pop()) {
      if (now - entry.sinceMs < this.#options.idleTimeoutMs && entry.channel.isQuiet) return entry.channel;
      entry.channel.close();
    }
    return undefined;
  }

  async #connect(lane: Lane, { deadlineMs, connectTimeoutMs, signal }: Wanted): Promise<Channel> {
    const timeoutMs = Math.min(connectTimeoutMs, deadlineMs - this.#clock.monotonicMs());
    try {
      if (timeoutMs <= 0)
        throw new ThimbleError('NETWORK', `Cannot connect to ${this.#target.host}: out of time`);
      const connecting = this.#sockets.connect(this.#target, timeoutMs);
      // The sockets keep the time-out themselves.
      const limits = { clock: this.#clock, deadlineMs, signal };
      const connection =
        signal === undefined
          ? await connecting
          : await inTime(connecting, `connect to ${this.#target.host}`, limits, (late) => late.close());
      const channel = new Channel(connection, this.#clock, this, lane);
      if (lane === this.#background) this.#ahead.add(channel);
      return channel;
    } catch (error) {
      lane.busy--;
      this.#nextLane()?.waiting.shift()?.take(undefined);
      throw error;
    }
  }

  /** Answers with no connection where a place for one is free, or the request has come into another lane. */
  #wait(lane: Lane, { deadlineMs, urgency, signal }: Wanted): Promise<Channel | undefined> {
    return new Promise((resolve, reject) => {
      let forgetSignal: (() => void) | undefined;
      const end = () => {
        cancelTimer();
        urgency?.onRaised(undefined);
        forgetSignal?.();
      };
      const leave = () => {
        end();
        lane.waiting.splice(lane.waiting.indexOf(waiter), 1);
      };
      const giveUp = (error: ThimbleError) => {
        leave();
        reject(error);
      };
      const waiter: Waiter = {
        take: (channel) => {
          end();
          resolve(channel);
        },
      };
      lane.waiting.push(waiter);
      urgency?.onRaised(() => {
        leave();
        resolve(undefined);
      });
      const { host } = this.#target;
      const cancelTimer = this.#clock.after(deadlineMs - this.#clock.monotonicMs(), () =>
        giveUp(new ThimbleError('NETWORK', `Cannot connect to ${host}: all connections are busy`)),
      );
      forgetSignal = signal?.onCancel(() =>
        giveUp(new ThimbleError('CANCELLED', `Cannot connect to ${host}: the request was cancelled`)),
      );
    });
  }
}
