/**
 * Extended attributes that no catalog holds: the state of the mount and of its files, under the names and in the form that
 * the CernVM-FS client gives them, for the scripts that read them with getfattr(1). docs/manual/status.md lists them.
 */

import { type CacheId, cacheIdOf } from '../client/cache.ts';
import type { Slot } from '../client/catalog-tree.ts';
import type { SnapshotVfs } from '../client/snapshot-vfs.ts';
import { type ByteString, type Bytes, bytesOf } from '../core/bytes/byte-string.ts';
import { utf8 } from '../core/bytes/utf8.ts';
import type { CatalogRow } from '../core/catalog/catalog-reader.ts';
import { type CatalogCounters, COUNTER_NAMES } from '../core/catalog/counters.ts';
import { FLAG_DIRECT_IO, FLAG_EXTERNAL } from '../core/catalog/flags.ts';
import { type NodeId, NotYet, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { ELSEWHERE, type MagicXattrs } from '../fuse/session.ts';

/** A value of the whole mount, asked for anew each time; `undefined`: there is none now. A promise, which never rejects: ask again then. */
export type MountValue = () => string | number | undefined | Promise<void>;

/** What the cache has of an object: nothing, what was put there, or something else. */
export type ContentState = 'absent' | 'right' | 'damaged';

export interface MountXattrsOptions {
  /** The file system; `undefined` as long as it is being mounted. */
  readonly vfs: () => SnapshotVfs | undefined;
  readonly listed: MagicXattrs['listed'];
  /** Names without `user.`. */
  readonly mountValues: Readonly<Record<string, MountValue>>;
  /** Address that paths of external files are appended to. */
  readonly externalServer?: string | undefined;
  /** Reads all of it. */
  readonly contentState?: ((id: CacheId) => ContentState) | undefined;
}

interface FileContext {
  readonly vfs: SnapshotVfs;
  readonly node: NodeId;
  readonly row: CatalogRow;
  readonly externalServer: string | undefined;
  readonly contentState: MountXattrsOptions['contentState'];
}

type FileValue = (context: FileContext) => string | number | undefined;

const isRegular = ({ row }: FileContext) => (row.mode & S_IFMT) === S_IFREG;
const flag = ({ row }: FileContext, bit: number) => ((row.flags & bit) === 0 ? 0 : 1);

const rawlink: FileValue = ({ row }) => ((row.mode & S_IFMT) === S_IFLNK ? row.symlink : undefined);

/** Values are byte strings or numbers: paths and links need not be UTF-8. */
const FILE_VALUES: Readonly<Record<string, FileValue>> = {
  'user.hash': ({ row }) => row.hash,
  'user.lhash': (context) => (isRegular(context) ? localHash(context) : undefined),
  'user.chunks': (context) => (isRegular(context) ? context.vfs.chunksOf(context.node).length : undefined),
  'user.chunk_list': (context) => (isRegular(context) ? chunkList(context) : undefined),
  'user.compression': (context) => (isRegular(context) ? context.row.compression : undefined),
  'user.external_file': (context) => (isRegular(context) ? flag(context, FLAG_EXTERNAL) : undefined),
  'user.direct_io': (context) => (isRegular(context) ? flag(context, FLAG_DIRECT_IO) : undefined),
  'user.external_url': (context) => {
    if (!isRegular(context) || flag(context, FLAG_EXTERNAL) === 0) return undefined;
    return `${context.externalServer ?? ''}${context.vfs.pathOf(context.node)}`;
  },
  'user.rawlink': rawlink,
  // The kernel refuses `user.` on symlinks.
  'xfsroot.rawlink': rawlink,
  'user.catalog_counters': ({ vfs, node }) => {
    const { hash, mountpoint, reader } = catalogAt(vfs, vfs.pathOf(node));
    return `catalog_hash: ${hash}\ncatalog_mountpoint: ${mountpoint || '/'}\n${counterLines(reader.counters())}`;
  },
};

const PAGE_BYTES = 40_000;

export class MountXattrs implements MagicXattrs {
  readonly listed: MagicXattrs['listed'];
  readonly #vfs: () => SnapshotVfs | undefined;
  readonly #options: MountXattrsOptions;
  readonly #mountValues: ReadonlyMap<string, MountValue>;
  readonly #names: readonly ByteString[];

  /** What somebody has asked for and is still on its way. */
  #preparing: Promise<void> | undefined;

  constructor(options: MountXattrsOptions) {
    const { vfs, listed, mountValues } = options;
    this.listed = listed;
    this.#vfs = vfs;
    this.#options = options;
    this.#mountValues = new Map(
      Object.entries(mountValues).map(([name, value]): [string, MountValue] => [`user.${name}`, value]),
    );
    this.#names = [...Object.keys(FILE_VALUES), ...this.#mountValues.keys()].sort() as ByteString[];
  }

  /**
   * The value of a name, or one page of it: `NAME~2` is the page as it is, `NAME@2` with a line above that says which it is, and
   * `NAME~?` says how many there are. `undefined` if there is no such value. Throws FORMAT for a damaged catalog.
   */
  get(node: NodeId, name: ByteString): Bytes | undefined | typeof ELSEWHERE {
    const [, plain = '', kind, page = '0'] = /^([^~@]+)(?:([~@])(\d{1,6}|\?))?$/.exec(name) ?? [];
    const value = this.#value(node, plain);
    if (value === undefined) return undefined;
    if (value instanceof Promise) {
      this.#preparing = value;
      return ELSEWHERE;
    }
    const pages = pagesOf(String(value));
    if (page === '?') return bytesOf(`num_pages, ${pages.length}` as ByteString);
    const text = pages[Number(page)];
    if (text === undefined) return undefined;
    const header = kind === '@' ? `# page ${Number(page)} of ${pages.length}, counted from 0\n` : '';
    return bytesOf(`${header}${text}` as ByteString);
  }

  prepare(): Promise<void> | undefined {
    return this.#preparing;
  }

  /** Names that have a value there. */
  list(node: NodeId): readonly ByteString[] {
    return this.#names.filter((name) => this.#isThere(node, name));
  }

  /** Listing fetches nothing, and reads no content. */
  #isThere(node: NodeId, name: string): boolean {
    if (name === 'user.repo_metainfo') return this.#mountValues.has(name);
    return this.#value(node, name === 'user.lhash' ? 'user.hash' : name) !== undefined;
  }

  #value(node: NodeId, name: string): string | number | undefined | Promise<void> {
    const ofMount = this.#mountValues.get(name)?.();
    if (ofMount !== undefined) return typeof ofMount === 'string' ? utf8(ofMount) : ofMount;
    if (!Object.hasOwn(FILE_VALUES, name)) return undefined;
    const vfs = this.#vfs();
    const row = vfs?.rowOf(node);
    if (vfs === undefined || row === undefined) return undefined;
    const { externalServer, contentState } = this.#options;
    return FILE_VALUES[name]!({ vfs, node, row, externalServer, contentState });
  }
}

/** The catalog that lists a directory, or, where that is not here yet or this is a file, the one that has its entry. */
function catalogAt({ catalogs }: SnapshotVfs, path: ByteString): Slot {
  for (const isInside of [true, false]) {
    const slot = catalogs.slotFor(path, isInside);
    if (!(slot instanceof NotYet)) return slot;
  }
  return catalogs.root;
}

/** The hash of what the cache has. Not hashed again, since it is kept inflated: a checksum of that says whether it is still the same. */
function localHash({ vfs, node, row, contentState }: FileContext): string | undefined {
  if (row.hash === undefined || contentState === undefined) return undefined;
  for (const { need } of vfs.chunksOf(node)) {
    const state = contentState(cacheIdOf(need.hash, need.compression));
    if (state === 'absent') return 'Not in cache';
    if (state === 'damaged') return 'I/O error (what is in the cache is damaged)';
  }
  return row.hash;
}

function chunkList({ vfs, node }: FileContext): string {
  const lines = vfs.chunksOf(node).map(({ hash, offset, sizeBytes }) => `${hash},${offset},${sizeBytes}\n`);
  return `hash,offset,size\n${lines.join('')}`;
}

/** `name,value` lines over a catalog and all below it, by name. */
export function counterLines({ self, subtree }: CatalogCounters): string {
  return [...COUNTER_NAMES]
    .sort()
    .map((name) => `${name},${self[name] + subtree[name]}\n`)
    .join('');
}

/** Cut at ends of lines where there are any. */
function pagesOf(text: string): string[] {
  const pages: string[] = [];
  let rest = text;
  while (rest.length > PAGE_BYTES) {
    const end = rest.lastIndexOf('\n', PAGE_BYTES - 1) + 1 || PAGE_BYTES;
    pages.push(rest.slice(0, end));
    rest = rest.slice(end);
  }
  return [...pages, rest];
}
