/**
 * Reads the packs of a profile, in order: only the stretches with objects that are wanted. Packs are not trusted: every
 * length is the one of the table, and nothing is handed on before its hash and its size are right.
 */

import type { Bytes } from '../../core/bytes/byte-string.ts';
import { algorithmOf, hashBytes, objectPath } from '../../core/content-hash.ts';
import { errorCodeOf, ThimbleError } from '../../core/errors.ts';
import { type Hashing, type Inflating, type Log, silentLog } from '../../core/ports.ts';
import type { Pack } from '../../core/profile-index.ts';
import type { PlacedObject } from '../../core/profile-table.ts';
import type { Servers } from '../network/servers.ts';
import type { SourceFile } from '../network/source.ts';

/** What lies between two wanted objects is fetched along if it is less: a request takes longer. */
const MERGED_GAP_BYTES = 256 * 1024;
/** Nobody waits for a pack; a server that sends nothing is given up much earlier. */
const PACK_DEADLINE_MS = 600_000;
/** Where nothing else is said. */
const AHEAD_BYTES = 1024 * 1024;

export interface ProfileStreamOptions {
  readonly servers: Pick<Servers, 'fetch'>;
  readonly hashing: Hashing;
  readonly inflating: Inflating;
  readonly places: readonly PlacedObject[];
  readonly packs: readonly Pack[];
  /** One byte for each place, not 0 if it is wanted. Others may set it to 0 meanwhile. */
  readonly wanted: Uint8Array;
  /** Takes verified content; returns when there is room for more. */
  readonly deliver: (index: number, content: Bytes) => Promise<void>;
  /** Where the next content may be, of as many bytes, until it is delivered; `undefined`: in memory of its own. */
  readonly memory?: (sizeBytes: number) => Bytes | undefined;
  /** Returns when `memory` has some, or never will. */
  readonly room?: (sizeBytes: number) => Promise<void>;
  /** The next request is sent when this much of the last is left: what a line holds costs no time then. */
  readonly aheadBytes?: number | undefined;
  readonly log?: Log;
}

export interface ProfileStreamCounters {
  requests: number;
  /** As received, what is not wanted included. */
  receivedBytes: number;
  delivered: number;
  /** Objects that were not what the table says, and stretches that no server has. */
  damaged: number;
}

/** Of a pack; from the first to the last of these objects. */
export interface Stretch {
  readonly pack: number;
  readonly first: number;
  readonly last: number;
  readonly offset: number;
  readonly length: number;
}

export class ProfileStream {
  readonly counters: ProfileStreamCounters = { requests: 0, receivedBytes: 0, delivered: 0, damaged: 0 };
  readonly #options: ProfileStreamOptions;
  readonly #log: Log;
  #stored: Bytes = new Uint8Array(0);

  constructor(options: ProfileStreamOptions) {
    this.#options = options;
    this.#log = options.log ?? silentLog;
  }

  /** Returns when all that could be had was delivered. Throws NETWORK, and what `deliver` throws. */
  async run(): Promise<void> {
    for (;;) {
      const before = this.counters.delivered;
      const failure = await this.#pass();
      if (failure === undefined) return;
      // What has arrived stays: as long as there is something new, it is worth going on.
      if (this.counters.delivered === before) throw failure;
      this.#log.info('profile interrupted, going on', { error: String(failure) });
    }
  }

  /** One stretch after the other. Answers the failure of the network that ended it. */
  async #pass(): Promise<unknown> {
    const { places, packs, wanted } = this.#options;
    const stretches = planStretches(places, packs, wanted);
    let running: Promise<unknown> | undefined;
    for (const stretch of stretches) {
      const former = running;
      const { nearEnd, done } = this.#fetch(stretch, former);
      running = done;
      const failure = await former;
      if (failure !== undefined) {
        // It waits for a turn that it will not have.
        await done;
        return failure;
      }
      await nearEnd;
    }
    return running;
  }

  #fetch(stretch: Stretch, turn: Promise<unknown> | undefined) {
    let signalNearEnd = () => {};
    const nearEnd = new Promise<void>((resolve) => {
      signalNearEnd = resolve;
    });
    const done = this.#receive(stretch, turn, signalNearEnd).finally(signalNearEnd);
    return { nearEnd, done };
  }

  /** Answers a failure of the network; throws those of `deliver`. */
  async #receive(
    stretch: Stretch,
    turn: Promise<unknown> | undefined,
    onNearEnd: () => void,
  ): Promise<unknown> {
    const { servers, packs } = this.#options;
    const pack = packs[stretch.pack]!;
    const isWhole = stretch.length === pack.sizeBytes;
    const range = isWhole ? undefined : { offset: stretch.offset, length: stretch.length };
    const consume = async (file: SourceFile) => {
      this.counters.requests++;
      if ((await turn) !== undefined) return;
      await this.#divide(stretch, file, onNearEnd);
    };
    try {
      await servers.fetch(objectPath(pack.hash, ''), consume, range, { deadlineMs: PACK_DEADLINE_MS });
      return undefined;
    } catch (error) {
      const code = errorCodeOf(error);
      if (code === 'NETWORK') return error;
      if (!PASSED_OVER.has(code)) throw error;
      this.#log.warn('a pack of the profile cannot be used', { pack: pack.hash, error: String(error) });
      this.counters.damaged++;
      return undefined;
    }
  }

  async #divide({ first, last, length }: Stretch, file: SourceFile, onNearEnd: () => void): Promise<void> {
    const { places, wanted, aheadBytes = AHEAD_BYTES } = this.#options;
    let index = first;
    let missing = places[first]!.storedBytes;
    let parts: Bytes[] = [];
    let received = 0;
    for (let chunk = await file.next(); chunk !== undefined; chunk = await file.next()) {
      received += chunk.length;
      this.counters.receivedBytes += chunk.length;
      if (received > length) throw wrongLength(received, length);
      if (length - received <= aheadBytes) onNearEnd();
      for (let at = 0; at < chunk.length; ) {
        const taken = Math.min(missing, chunk.length - at);
        if (wanted[index] !== 0) parts.push(chunk.subarray(at, at + taken));
        at += taken;
        missing -= taken;
        if (missing > 0) continue;
        if (wanted[index] !== 0) await this.#finish(index, parts);
        parts = [];
        index++;
        missing = index > last ? 0 : places[index]!.storedBytes;
      }
    }
    if (received < length) throw wrongLength(received, length);
  }

  async #finish(index: number, parts: readonly Bytes[]): Promise<void> {
    const place = this.#options.places[index]!;
    // One byte more tells content that is too long.
    const roomBytes = place.sizeBytes + 1;
    await this.#options.room?.(roomBytes);
    const memory = this.#options.memory?.(roomBytes) ?? new Uint8Array(roomBytes);
    const content = this.#verified(place, this.#joined(parts), memory);
    // Whatever it was: it is not asked for again, and readers fetch it where it belongs.
    this.#options.wanted[index] = 0;
    if (content === undefined) {
      this.counters.damaged++;
      return;
    }
    await this.#options.deliver(index, content);
    this.counters.delivered++;
  }

  /** In memory that is used again. */
  #joined(parts: readonly Bytes[]): Bytes {
    if (parts.length === 1) return parts[0]!;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (this.#stored.length < length) this.#stored = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      this.#stored.set(part, at);
      at += part.length;
    }
    return this.#stored.subarray(0, length);
  }

  #verified({ hash, compression, sizeBytes }: PlacedObject, stored: Bytes, memory: Bytes): Bytes | undefined {
    const { hashing, inflating } = this.#options;
    if (hashBytes(hashing, algorithmOf(hash), stored) !== hash) {
      this.#log.warn('an object of the profile is damaged', { hash });
      return undefined;
    }
    try {
      let { length } = stored;
      if (compression !== 'none') length = inflating.inflateInto(stored, memory);
      else if (length === sizeBytes) memory.set(stored);
      return length === sizeBytes ? memory.subarray(0, sizeBytes) : undefined;
    } catch (error) {
      this.#log.warn('an object of the profile is no zlib stream', { hash, error: String(error) });
      return undefined;
    }
  }
}

/** The stretches of all packs in which something is wanted, in order. */
export function planStretches(
  places: readonly PlacedObject[],
  packs: readonly Pack[],
  wanted: Uint8Array,
): readonly Stretch[] {
  const stretches: Stretch[] = [];
  let open: { pack: number; first: number; last: number; offset: number; end: number } | undefined;
  const close = () => {
    if (open === undefined) return;
    const { pack, first, last, offset, end } = open;
    stretches.push({ pack, first, last, offset, length: end - offset });
    open = undefined;
  };
  for (const [index, { pack, offset, storedBytes }] of places.entries()) {
    if (wanted[index] === 0) continue;
    if (open !== undefined && (open.pack !== pack || offset - open.end > MERGED_GAP_BYTES)) close();
    open ??= { pack, first: index, last: index, offset, end: offset };
    open.last = index;
    open.end = offset + storedBytes;
  }
  close();
  return stretches.map((stretch) => widened(stretch, places, packs));
}

/** To the whole pack, where what is left out at its end is not worth a range: caches on the way keep whole files only. */
function widened(stretch: Stretch, places: readonly PlacedObject[], packs: readonly Pack[]): Stretch {
  const { sizeBytes } = packs[stretch.pack]!;
  if (stretch.offset !== 0 || sizeBytes - stretch.length > MERGED_GAP_BYTES) return stretch;
  let { last } = stretch;
  while (places[last + 1]?.pack === stretch.pack) last++;
  return { ...stretch, last, length: sizeBytes };
}

/** Another pack may be sound. */
const PASSED_OVER: ReadonlySet<string> = new Set(['NOT_FOUND', 'INTEGRITY', 'FORMAT', 'LIMIT']);

function wrongLength(actual: number, wanted: number): ThimbleError {
  return new ThimbleError('INTEGRITY', `Cannot use pack: it sends ${actual} bytes, ${wanted} expected`);
}
