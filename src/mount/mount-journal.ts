/**
 * The journal of a mount: what a process has to know that takes over from one that died. One line of JSON for each event,
 * in the order in which they happened; a reader leaves out events that it does not know.
 */

import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Snapshot } from '../client/repository.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Negotiated } from '../fuse/negotiation.ts';
import { STATE_FILES } from './state-folder.ts';

export type MountEvent =
  /** What is shown from here on: first of all, and again at each move to another revision. */
  | { readonly event: 'snapshot'; readonly snapshot: Snapshot }
  /** A catalog was attached: node ids say which came when. The root is the empty path. */
  | { readonly event: 'catalog'; readonly mountpoint: ByteString; readonly hash: ContentHash }
  /** It is mounted; `device` is `major:minor` of the mount table. */
  | { readonly event: 'mounted'; readonly device: string | undefined }
  /** The outcome of INIT, which comes once in the life of a mount. */
  | { readonly event: 'negotiated'; readonly negotiated: Negotiated };

export class MountJournal {
  readonly #file: string;
  readonly #events: MountEvent[];
  #isBegun: boolean;

  private constructor(file: string, events: MountEvent[]) {
    this.#file = file;
    this.#events = events;
    this.#isBegun = events.length > 0;
  }

  /** Reads what is there; nothing in the state folder of a new mount. Throws STORAGE. */
  static open(stateFolder: string): MountJournal {
    const file = join(stateFolder, STATE_FILES.journal);
    return new MountJournal(file, existsSync(file) ? readEvents(file) : []);
  }

  /** True if there is something to take over. */
  get isBegun(): boolean {
    return this.#isBegun;
  }

  get events(): readonly MountEvent[] {
    return this.#events;
  }

  /** The newest event of a kind. */
  last<K extends MountEvent['event']>(kind: K): Extract<MountEvent, { event: K }> | undefined {
    return this.#events.findLast((one) => one.event === kind) as
      | Extract<MountEvent, { event: K }>
      | undefined;
  }

  /**
   * Writes what was added so far. From here on the supervisor starts the server again when it ends: something may be mounted.
   * Throws STORAGE.
   */
  begin(): void {
    this.#isBegun = true;
    this.#append(this.#events);
  }

  /** Nothing was mounted after all. */
  abandon(): void {
    this.#isBegun = false;
    rmSync(this.#file, { force: true });
  }

  /**
   * Adds an event. Other processes see it when this returns, whatever becomes of this one; it need not survive the machine, since
   * the mount does not either. Throws STORAGE.
   */
  add(event: MountEvent): void {
    this.#events.push(event);
    if (this.#isBegun) this.#append([event]);
  }

  #append(events: readonly MountEvent[]): void {
    try {
      appendFileSync(this.#file, events.map((event) => `${JSON.stringify(event)}\n`).join(''), {
        mode: 0o600,
      });
    } catch (error) {
      throw new ThimbleError('STORAGE', `Cannot write ${this.#file}`, { cause: error });
    }
  }
}

function readEvents(file: string): MountEvent[] {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    // What has no end of line was being written when its writer died: nobody acted on it.
    return lines.slice(0, -1).map((line) => JSON.parse(line) as MountEvent);
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot read ${file}`, { cause: error });
  }
}
