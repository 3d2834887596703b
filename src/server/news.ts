/**
 * Tells clients that a repository has something new the moment it is published. A client asks with the root hash that it shows, and
 * the answer is held back until the manifest names another (docs/format.md#news).
 */

import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ContentHash, isContentHash } from '../core/content-hash.ts';
import { MANIFEST_PATH } from '../core/manifest.ts';

/** Where a folder does not tell of changes, as over NFS. */
const LOOK_MS = 2000;

interface Waiter {
  readonly shown: ContentHash;
  readonly answer: (news: ContentHash | undefined) => void;
}

/** Of one repository. Nothing is watched while nobody waits. */
export class News {
  readonly #folder: string;
  readonly #waiters = new Set<Waiter>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  /** The root hash of the newest revision, as soon as it is not `shown`; `undefined` after `waitMs`, or when `onGone` calls back. */
  async wait(
    shown: ContentHash,
    waitMs: number,
    onGone: (leave: () => void) => void,
  ): Promise<ContentHash | undefined> {
    const now = await this.#read();
    if (now !== undefined && now !== shown) return now;
    return new Promise((resolve) => {
      const answer = (news: ContentHash | undefined) => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        if (this.#waiters.size === 0) this.#stopWatching();
        resolve(news);
      };
      const waiter: Waiter = { shown, answer };
      const timer = setTimeout(() => answer(undefined), waitMs);
      this.#waiters.add(waiter);
      onGone(() => answer(undefined));
      this.#watch();
      // It may have changed since it was read.
      void this.#look();
    });
  }

  /** Answers all who wait. */
  close(): void {
    for (const { answer } of [...this.#waiters]) answer(undefined);
  }

  #watch(): void {
    this.#timer ??= setInterval(() => void this.#look(), LOOK_MS);
    if (this.#watcher !== undefined) return;
    try {
      // The manifest is replaced, not written: the folder is what tells.
      this.#watcher = watch(this.#folder, (_, name) => {
        if (name === MANIFEST_PATH) void this.#look();
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // The timer looks as well.
    }
  }

  #stopWatching(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  async #look(): Promise<void> {
    const now = await this.#read();
    if (now === undefined) return;
    for (const { shown, answer } of [...this.#waiters]) if (now !== shown) answer(now);
  }

  async #read(): Promise<ContentHash | undefined> {
    try {
      const text = await readFile(join(this.#folder, MANIFEST_PATH), 'latin1');
      const hash = /^C(.+)$/m.exec(text)?.[1] ?? '';
      return isContentHash(hash) ? hash : undefined;
    } catch {
      // Between two manifests of a publisher that does not rename; it is looked at again.
      return undefined;
    }
  }
}
