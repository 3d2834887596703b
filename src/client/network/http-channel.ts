/** One connection to a server or a proxy, and the responses that come over it (RFC 9112). */

import { type Bytes, byteStringOf, concatBytes } from '../../core/bytes/byte-string.ts';
import { encodeUtf8 } from '../../core/bytes/utf8.ts';
import type { CancelSignal } from '../../core/cancellation.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Clock, Connection } from '../../core/ports.ts';
import type { HttpResponse } from './http-client.ts';
import { brokenResponse, type Head, indexOfBlankLine, parseHead, parseLength } from './http-head.ts';
import type { Host, Lane } from './http-host.ts';
import type { Urgency } from './urgency.ts';

const MAX_HEADER_BYTES = 64 * 1024;
const MAX_CHUNK_LINE_BYTES = 1024;
const MAX_INTERIM_RESPONSES = 16;
const TRUNCATED = 'connection closed before the end of the response';

/** How long a response may take. */
export interface Patience {
  /** On the clock's `monotonicMs`. */
  readonly deadlineMs: number;
  /** Nothing at all for this long is a failure. */
  readonly stallMs: number;
  /** Less than this on the average of `stallMs` is one too; 0 for no such limit. */
  readonly lowSpeedBytesPerSecond: number;
  readonly signal: CancelSignal | undefined;
}

/** Somebody whose request was sent behind others. */
interface Follower {
  begin: () => void;
  readonly giveUp: (why: ThimbleError) => void;
}

/** Short responses that may be on their way behind another. */
const MAX_FOLLOWERS = 15;

/**
 * One connection, and the request that is under way. Others may be sent behind it (RFC 9112, 9.3.2): their turn comes when the
 * response before has been read to its end.
 */
export class Channel {
  requests = 0;
  /** True once the first byte of the current response is here. */
  hasAnswered = false;
  /** True when it was closed since it said nothing for too long: others to this host may be dead as well. */
  hasStalled = false;
  /** Whose connections it belongs to; none while it is idle. */
  lane: Lane | undefined;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #host: Host;
  /** From a request to the end of the last response. */
  #isBusy = false;
  /** Every response that is under way is short. */
  #isShort = false;
  /** It has gone on behind a response before. */
  #hasGoneOn = false;
  readonly #followers: Follower[] = [];
  /** Requests that are about to be sent. */
  #promised = 0;
  #buffer: Bytes = new Uint8Array(0);
  #at = 0;
  #closed = false;
  #why: ThimbleError | undefined;
  #patience: Patience = { deadlineMs: 0, stallMs: 0, lowSpeedBytesPerSecond: 0, signal: undefined };
  #isReading = false;
  #progressMs = 0;
  /** Start of the stretch over which the speed is measured, and what has arrived in it. */
  #stretchMs = 0;
  #stretchBytes = 0;
  #cancelTimer: (() => void) | undefined;
  #forgetSignal: (() => void) | undefined;

  constructor(connection: Connection, clock: Clock, host: Host, lane: Lane) {
    this.#connection = connection;
    this.#clock = clock;
    this.#host = host;
    this.lane = lane;
  }

  /** Whether a request may be sent behind those that are under way, if its response is short too. */
  get canBeFollowed(): boolean {
    const followers = this.#followers.length + this.#promised;
    const isUsed = this.#isBusy || this.#promised > 0;
    return isUsed && this.#isShort && this.#hasGoneOn && followers < MAX_FOLLOWERS;
  }

  /** Somebody will send a request at once: the connection is not given back before. */
  promise(isShort: boolean): void {
    this.#promised++;
    this.#isShort = isShort;
  }

  /**
   * `text` is the header of the request with its last line. Throws NETWORK, CANCELLED; with `details.begun` "no" where the connection
   * ended before this request's turn, and "lifted" where somebody came to wait for it before that.
   */
  async exchange(
    text: string,
    isHead: boolean,
    patience: Patience,
    urgency?: Urgency,
  ): Promise<HttpResponse> {
    if (this.#promised > 0) this.#promised--;
    if (this.#closed) throw notBegun();
    this.requests++;
    this.#connection.write(encodeUtf8(text));
    if (this.#isBusy) await this.#turn(patience, urgency);
    this.#isBusy = true;
    this.#isShort = urgency?.isShort === true;
    // It may have come already, behind the one before.
    this.hasAnswered = this.#at < this.#buffer.length;
    this.#patience = patience;
    this.#progressMs = this.#clock.monotonicMs();
    this.#watch();
    this.#forgetSignal = patience.signal?.onCancel(() =>
      this.#giveUp(new ThimbleError('CANCELLED', 'Cannot receive: the request was cancelled')),
    );
    let head = await this.#readHead();
    // 1xx responses are interim; the real one follows.
    for (let interim = 0; head.status < 200; interim++) {
      if (interim === MAX_INTERIM_RESPONSES) throw brokenResponse('interim responses without end');
      head = await this.#readHead();
    }
    return this.#response(head, isHead);
  }

  /** False for an idle connection on which something has arrived: it would be taken for the next response. */
  get isQuiet(): boolean {
    return this.#connection.isQuiet?.() ?? true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#rest();
    this.#connection.close();
    this.#host.dropped(this);
    for (const follower of this.#followers.splice(0)) follower.giveUp(notBegun());
  }

  /** Resolves when the responses before have been read. Who waits for it by then does not wait for those: it is asked for elsewhere. */
  #turn({ deadlineMs }: Patience, urgency: Urgency | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const stopTimer = this.#clock.after(deadlineMs - this.#clock.monotonicMs(), () =>
        this.#giveUp(new ThimbleError('NETWORK', 'Cannot receive: out of time')),
      );
      const end = () => {
        stopTimer();
        urgency?.onRaised(undefined);
      };
      const giveUp = (why: ThimbleError) => {
        end();
        reject(why);
      };
      const follower: Follower = {
        begin: () => {
          end();
          resolve();
        },
        giveUp,
      };
      this.#followers.push(follower);
      urgency?.onRaised(() => {
        giveUp(notBegun('lifted'));
        follower.begin = () => void this.#pass();
      });
    });
  }

  /** Reads a response that nobody waits for here, so that the next one has its turn; as patiently as the one before. */
  async #pass(): Promise<void> {
    this.#progressMs = this.#clock.monotonicMs();
    this.#watch();
    try {
      const response = this.#response(await this.#readHead(), false);
      while ((await response.next()) !== undefined);
    } catch {
      this.close();
    }
  }

  // ---- waiting ----

  #rest(): void {
    this.#cancelTimer?.();
    this.#forgetSignal?.();
  }

  /** One timer watches all limits; it is set anew only when it fires, not on every byte. */
  #watch(): void {
    this.#cancelTimer?.();
    const { deadlineMs, stallMs } = this.#patience;
    const now = this.#clock.monotonicMs();
    // Whoever does not read has nobody else to blame.
    if (!this.#isReading) this.#startStretch((this.#progressMs = now));
    if (deadlineMs <= now) this.#giveUp(new ThimbleError('NETWORK', 'Cannot receive: out of time'));
    else if (this.#progressMs + stallMs <= now) {
      this.hasStalled = true;
      this.#giveUp(new ThimbleError('NETWORK', `Cannot receive: nothing received for ${stallMs} ms`));
    } else if (this.#isTooSlow(now)) this.#giveUp(this.#slow());
    else {
      const next = Math.min(deadlineMs, this.#progressMs + stallMs);
      const end = this.hasAnswered ? Math.min(next, this.#stretchMs + stallMs) : next;
      this.#cancelTimer = this.#clock.after(end - now, () => this.#watch());
    }
  }

  #isTooSlow(now: number): boolean {
    const { stallMs, lowSpeedBytesPerSecond } = this.#patience;
    if (!this.hasAnswered || now < this.#stretchMs + stallMs) return false;
    if (this.#stretchBytes * 1000 < lowSpeedBytesPerSecond * stallMs) return true;
    this.#startStretch(now);
    return false;
  }

  #slow(): ThimbleError {
    const { stallMs, lowSpeedBytesPerSecond } = this.#patience;
    const limit = `less than ${lowSpeedBytesPerSecond} bytes a second for ${stallMs} ms`;
    return new ThimbleError('NETWORK', `Cannot receive: ${limit}`);
  }

  #startStretch(now: number): void {
    this.#stretchMs = now;
    this.#stretchBytes = 0;
  }

  #giveUp(why: ThimbleError): void {
    this.#why ??= why;
    this.#connection.close();
  }

  /** Reads more bytes behind those not yet used; false at the end of the stream. */
  async #fill(): Promise<boolean> {
    const chunk = await this.#receive();
    if (chunk === undefined) return false;
    this.#buffer =
      this.#at === this.#buffer.length ? chunk : concatBytes([this.#buffer.subarray(this.#at), chunk]);
    this.#at = 0;
    return true;
  }

  async #receive(): Promise<Bytes | undefined> {
    this.#isReading = true;
    try {
      const chunk = await this.#connection.read();
      if (chunk !== undefined) this.#onBytes(chunk.length);
      else if (this.#why !== undefined) throw this.#why;
      return chunk;
    } catch (error) {
      throw this.#why ?? error;
    } finally {
      this.#isReading = false;
    }
  }

  #onBytes(count: number): void {
    this.#progressMs = this.#clock.monotonicMs();
    if (!this.hasAnswered) {
      this.hasAnswered = true;
      this.#startStretch(this.#progressMs);
    }
    this.#stretchBytes += count;
  }

  // ---- parsing ----

  async #readHead(): Promise<Head> {
    let scanned = 0;
    for (;;) {
      const end = indexOfBlankLine(this.#buffer, Math.max(this.#at, this.#at + scanned - 3));
      if (end >= 0) {
        const head = parseHead(byteStringOf(this.#buffer, this.#at, end));
        this.#at = end + 4;
        return head;
      }
      scanned = this.#buffer.length - this.#at;
      if (scanned > MAX_HEADER_BYTES) {
        throw brokenResponse(`the header is longer than ${MAX_HEADER_BYTES} bytes`);
      }
      if (!(await this.#fill())) throw brokenResponse('connection closed before the response');
    }
  }

  async #readLine(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf(0x0a, this.#at);
      if (end >= 0) {
        const line = byteStringOf(this.#buffer, this.#at, end);
        this.#at = end + 1;
        return line.trimEnd();
      }
      if (this.#buffer.length - this.#at > MAX_CHUNK_LINE_BYTES) {
        throw brokenResponse('a chunk header is too long');
      }
      if (!(await this.#fill())) throw brokenResponse(TRUNCATED);
    }
  }

  /** At most `limit` bytes: those at hand, else what arrives next. */
  async #take(limit: number): Promise<Bytes | undefined> {
    if (this.#at === this.#buffer.length) {
      const chunk = await this.#receive();
      if (chunk === undefined) return undefined;
      this.#buffer = chunk;
      this.#at = 0;
    }
    const start = this.#at;
    this.#at = Math.min(this.#buffer.length, start + limit);
    return this.#buffer.subarray(start, this.#at);
  }

  #response({ status, headers, persistent }: Head, isHead: boolean): HttpResponse {
    const chunked = /(^|,)\s*chunked\s*$/i.test(headers.get('transfer-encoding') ?? '');
    const lengthText = headers.get('content-length');
    const hasNoBody = isHead || status === 204 || status === 304;
    const declaredBytes = chunked || lengthText === undefined ? undefined : parseLength(lengthText);
    const sizeBytes = hasNoBody ? 0 : declaredBytes;
    const keepAlive = persistent && (chunked || sizeBytes !== undefined);
    const next =
      chunked && !hasNoBody
        ? this.#chunkedBody()
        : sizeBytes !== undefined
          ? this.#sizedBody(sizeBytes)
          : this.#openBody();
    let ended = false;
    const finish = () => {
      if (ended) return;
      ended = true;
      this.#rest();
      const follower = keepAlive ? this.#followers.shift() : undefined;
      this.#hasGoneOn = keepAlive;
      if (follower !== undefined) follower.begin();
      // Bytes behind the last response would be taken for the next one.
      else if (keepAlive && this.#at === this.#buffer.length) {
        this.#isBusy = false;
        if (this.#promised === 0) this.#host.release(this);
      } else this.close();
    };
    if (sizeBytes === 0) finish();
    return {
      status,
      headers,
      sizeBytes: isHead ? declaredBytes : sizeBytes,
      next: async () => {
        if (ended) return undefined;
        try {
          const piece = await next();
          if (piece === undefined) finish();
          return piece;
        } catch (error) {
          ended = true;
          this.close();
          throw error;
        }
      },
      close: () => {
        if (ended) return;
        ended = true;
        this.close();
      },
    };
  }

  #sizedBody(sizeBytes: number): () => Promise<Bytes | undefined> {
    let left = sizeBytes;
    return async () => {
      if (left === 0) return undefined;
      const piece = await this.#take(left);
      if (piece === undefined) throw brokenResponse(TRUNCATED);
      left -= piece.length;
      return piece;
    };
  }

  #openBody(): () => Promise<Bytes | undefined> {
    return () => this.#take(Number.POSITIVE_INFINITY);
  }

  #chunkedBody(): () => Promise<Bytes | undefined> {
    let left = 0;
    let first = true;
    return async () => {
      if (left === 0) {
        if (!first && (await this.#readLine()) !== '') throw brokenResponse('a chunk is longer than it says');
        first = false;
        const size = /^([0-9a-f]{1,12})[ \t]*(?:;|$)/i.exec(await this.#readLine())?.[1];
        if (size === undefined) throw brokenResponse('a chunk has no size');
        left = Number.parseInt(size, 16);
        if (left === 0) {
          while ((await this.#readLine()) !== '');
          return undefined;
        }
      }
      const piece = await this.#take(left);
      if (piece === undefined) throw brokenResponse(TRUNCATED);
      left -= piece.length;
      return piece;
    };
  }
}

function notBegun(begun: 'no' | 'lifted' = 'no'): ThimbleError {
  return brokenResponse('connection closed before the response', { phase: 'transfer', begun });
}
