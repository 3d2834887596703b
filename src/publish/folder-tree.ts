/** A folder of this machine as a tree: depth first, names in byte order, with owners, times and extended attributes. */

import { realpathSync } from 'node:fs';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';
import type { Tree, TreeChange, TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFMT } from '../core/vfs.ts';
import { nodeClock } from '../node/clock.ts';
import { type FolderMemory, FolderStamps, type RememberedFolder } from './folder-memory.ts';
import { GRAFT_PREFIX } from './graft.ts';
import { HostFolder } from './host-folder.ts';

/** The kernel's clock for files ticks some hundred times a second, that of other machines may be behind. */
const MIN_AGE_SECONDS = 2;
const NS_PER_SECOND = 1_000_000_000n;

export class FolderTree implements Tree {
  readonly name: string;
  readonly #folder: HostFolder;
  readonly #memory: FolderMemory | undefined;
  readonly #clock: Clock;
  #stamps = new FolderStamps();

  constructor(folder: string, memory?: FolderMemory, clock: Clock = nodeClock) {
    this.name = folder;
    this.#folder = new HostFolder(folder);
    this.#memory = memory;
    this.#clock = clock;
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    for (const change of this.#walk(undefined)) if (change.kind === 'put') yield change.entry;
  }

  changesSince(snapshot: ContentHash): AsyncIterable<TreeChange> | undefined {
    const remembered = this.#memory?.read(this.#realPath(), snapshot);
    if (remembered === undefined) return undefined;
    const changes = this.#walk(remembered);
    return (async function* () {
      yield* changes;
    })();
  }

  remember(snapshot: ContentHash): void {
    this.#memory?.write(this.#realPath(), snapshot, this.#stamps);
  }

  #realPath(): string {
    return realpathSync(this.name);
  }

  *#walk(remembered: RememberedFolder | undefined): Generator<TreeChange> {
    this.#stamps = new FolderStamps();
    const grafted = new Set<ByteString>();
    // A stack instead of recursion: nothing is deeper than memory allows.
    const pending: ByteString[] = ['' as ByteString];
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const stats = this.#folder.stat(path);
      const isDirectory = (Number(stats.mode) & S_IFMT) === S_IFDIR;
      if (path === '' && !isDirectory) {
        throw new ThimbleError('USAGE', `Cannot publish ${this.name}: it is not a folder`);
      }
      const isSettled = this.#isSettled(stats.ctimeNs) && !grafted.delete(path);
      if (this.#memory !== undefined) this.#stamps.add(path, isSettled ? stats : undefined);
      if (remembered?.isUnchanged(path, stats) !== true) {
        yield { kind: 'put', entry: this.#folder.entry(path, stats, this.#folder.xattrs(path)) };
      }
      if (!isDirectory) continue;
      // The last one pushed is the first one visited.
      for (const name of this.#folder.list(path).reverse()) {
        pending.push(`${path}/${name}` as ByteString);
        // What a graft says comes on top of the file, so both are read each time.
        if (!name.startsWith(GRAFT_PREFIX)) continue;
        for (const one of [name, name.slice(GRAFT_PREFIX.length)])
          grafted.add(`${path}/${one}` as ByteString);
      }
    }
    for (const path of remembered?.gone() ?? []) yield { kind: 'remove', path };
  }

  /** A change in the same tick of the clock would not show. */
  #isSettled(ctimeNs: bigint): boolean {
    return this.#clock.unixSeconds() - Number(ctimeNs / NS_PER_SECOND) > MIN_AGE_SECONDS;
  }
}
