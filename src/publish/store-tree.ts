/** Applies changes to a draft, and stores the contents that come with them. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { FLAG_DIRECT_IO } from '../core/catalog/flags.ts';
import { ThimbleError } from '../core/errors.ts';
import type { TreeChange, TreeContent, TreeEntry } from '../core/tree.ts';
import { nodeHashing } from '../node/hashing.ts';
import { openStorage } from '../storage/open-storage.ts';
import type { Storage, StorageLocation } from '../storage/storage.ts';
import { type AddedContent, ContentPool } from './content-pool.ts';
import { ContentStore, type StoreCounters, type StoreSettings } from './content-store.ts';
import type { DraftTree } from './draft-tree.ts';
import { type Graft, graftedPath, readGraft } from './graft.ts';

export interface PublishProgress {
  readonly entries: number;
  readonly files: number;
  readonly readBytes: number;
  readonly phase: 'files' | 'catalogs' | 'signing';
}

export interface StoreTreeOptions {
  readonly onProgress?: (progress: PublishProgress) => void;
  readonly threads?: number;
  /** Clients are told to read the files past their page caches. */
  readonly isDirectIo?: boolean;
}

export interface StoredTree {
  readonly entries: number;
  readonly fileBytes: number;
  readonly newObjects: number;
  readonly newBytes: number;
}

/** Reads changes once, to their end. Throws FORMAT, NOT_FOUND, STORAGE, LIMIT. */
export async function storeTree(
  draft: DraftTree,
  changes: AsyncIterable<TreeChange>,
  location: StorageLocation,
  settings: StoreSettings,
  options: StoreTreeOptions,
): Promise<StoredTree> {
  const contents = new Contents(location, settings, options);
  try {
    const grafts = new Map<ByteString, Graft>();
    let entries = 0;
    for await (const change of changes) {
      if (change.kind === 'put') {
        const { entry } = change;
        const grafted = graftedPath(entry);
        if (grafted === undefined) await contents.put(draft, entry);
        else grafts.set(grafted, await readGraft(entry));
        entries++;
      } else await draft[change.kind](change.path);
      options.onProgress?.({ phase: 'files', entries, ...contents.progress() });
    }
    const stored = await contents.drain();
    await applyGrafts(draft, grafts);
    options.onProgress?.({ phase: 'catalogs', entries, ...contents.progress() });
    return { entries, ...stored };
  } finally {
    await contents.close();
  }
}

/** So many small files are stored at once: to start threads for them takes longer. */
const FEW_FILES = 8;
const SMALL_BYTES = 256 * 1024;

/** File contents on their way into the storage, by threads that are started when there is enough to do. */
class Contents {
  readonly #start: () => ContentPool;
  readonly #storage: Storage;
  readonly #store: ContentStore;
  readonly #byLink = new Map<string, AddedContent>();
  readonly #isDirectIo: boolean;
  #pool: ContentPool | undefined;
  #files = 0;

  constructor(location: StorageLocation, settings: StoreSettings, { threads, isDirectIo }: StoreTreeOptions) {
    this.#start = () => new ContentPool(location, settings, threads);
    this.#storage = openStorage(location);
    this.#store = new ContentStore(this.#storage, nodeHashing, settings);
    this.#isDirectIo = isDirectIo === true;
  }

  async put(draft: DraftTree, entry: TreeEntry): Promise<void> {
    const node = await draft.put(entry);
    const content = await this.#storeOnce(entry);
    if (content === undefined) return;
    node.keptFlags = (node.keptFlags & ~FLAG_DIRECT_IO) | (this.#isDirectIo ? FLAG_DIRECT_IO : 0);
    this.#files++;
    content.stored.then(
      (stored) => {
        node.content = stored;
      },
      // `drain` reports the failure.
      () => {},
    );
  }

  /** Each file once, however many names it has. */
  async #storeOnce({ path, content, linkKey }: TreeEntry): Promise<AddedContent | undefined> {
    const known = linkKey === undefined ? undefined : this.#byLink.get(linkKey);
    if (known !== undefined && content?.kind !== 'stream') return known;
    if (content !== undefined) {
      const added = await this.#add(content);
      if (linkKey !== undefined) this.#byLink.set(linkKey, added);
      return added;
    }
    if (linkKey === undefined) return undefined;
    throw new ThimbleError(
      'FORMAT',
      `Cannot publish ${displayBytes(path)}: the file it is a hard link of does not come before it`,
    );
  }

  async #add(content: TreeContent): Promise<AddedContent> {
    const isFew = this.#pool === undefined && this.#files < FEW_FILES;
    if (isFew && content.kind === 'file' && content.sizeBytes <= SMALL_BYTES) {
      const stored = await this.#store.putFile(Buffer.from(content.hostPath, 'latin1'));
      return { stored: Promise.resolve(stored) };
    }
    this.#pool ??= this.#start();
    return this.#pool.add(content);
  }

  progress(): { readonly files: number; readonly readBytes: number } {
    return { files: this.#files, readBytes: this.#counters().readBytes };
  }

  async drain(): Promise<Omit<StoredTree, 'entries'>> {
    await this.#pool?.drain();
    const { readBytes, newObjects, newBytes } = this.#counters();
    return { fileBytes: readBytes, newObjects, newBytes };
  }

  #counters(): StoreCounters {
    const counters = { ...this.#store.counters };
    if (this.#pool === undefined) return counters;
    for (const [name, count] of Object.entries(this.#pool.counters()))
      counters[name as keyof StoreCounters] += count;
    return counters;
  }

  async close(): Promise<void> {
    await this.#pool?.close();
    await this.#storage.close();
  }
}

async function applyGrafts(draft: DraftTree, grafts: ReadonlyMap<ByteString, Graft>): Promise<void> {
  for (const [path, content] of grafts) {
    const node = await draft.find(path);
    if (node?.content === undefined) {
      throw new ThimbleError('FORMAT', `Cannot graft ${displayBytes(path)}: there is no file of this name`, {
        hint: 'put an empty file beside the graft',
      });
    }
    node.content = content;
  }
}
