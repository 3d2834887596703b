/** The file in which a check keeps how far it is, from one run to the next. */

import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { type CheckKind, CheckState } from '../client/check-state.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';
import { nodeHashing } from './hashing.ts';

/** A run that is killed loses no more than this. */
const SAVE_EVERY_MS = 60_000;

export class CheckStateFile {
  readonly state: CheckState;
  readonly #path: string;
  readonly #clock: Clock;
  #savedMs: number;

  private constructor(path: string, state: CheckState, clock: Clock) {
    this.#path = path;
    this.state = state;
    this.#clock = clock;
    this.#savedMs = clock.monotonicMs();
  }

  /**
   * The state at a path; a new one if there is none, or if it is complete and older than `ageSeconds`. Throws FORMAT and USAGE
   * as `CheckState.decode` does, STORAGE.
   */
  static open(path: string, kind: CheckKind, ageSeconds: number, clock: Clock): CheckStateFile {
    const now = clock.unixSeconds();
    const bytes = readIfThere(path);
    const known = bytes === undefined ? undefined : CheckState.decode(bytes, kind, nodeHashing);
    const isUsed = known !== undefined && !known.isOlderThan(ageSeconds, now);
    return new CheckStateFile(path, isUsed ? known : new CheckState(kind, now, nodeHashing), clock);
  }

  /** Throws STORAGE. */
  save(): void {
    const temporary = `${this.#path}.${process.pid}`;
    try {
      writeFileSync(temporary, this.state.encode(), { flush: true });
      renameSync(temporary, this.#path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw new ThimbleError('STORAGE', `Cannot write the state of the check to ${this.#path}`, {
        cause: error,
      });
    }
    this.#savedMs = this.#clock.monotonicMs();
  }

  /** Saves it if that was not done for a while. */
  saveNowAndThen(): void {
    if (this.#clock.monotonicMs() - this.#savedMs >= SAVE_EVERY_MS) this.save();
  }
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ThimbleError('STORAGE', `Cannot read the state of the check from ${path}`, { cause: error });
  }
}
