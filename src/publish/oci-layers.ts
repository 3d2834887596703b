/**
 * What is left of the layers of an image when each is unpacked over those below it (OCI image specification 1.1, layer.md):
 * later entries replace earlier ones, `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` all that these have in the
 * directory. Only paths and directories are held; for files it is known which entry of which layer they are.
 */

import type { TarEntry } from '../archive/tar.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFDIR } from '../core/vfs.ts';
import { MAX_PATH_BYTES } from './draft-tree.ts';
import { absolutePath, treeEntryOf } from './tar-tree.ts';

const WHITEOUT = '.wh.';
/** Of the file system that this way to say it was made for. */
const WHITEOUT_META = '.wh..wh.';
const OPAQUE = '.wh..wh..opq';
/** As the kernel has it. */
const MAX_SYMLINKS = 40;

interface Directory {
  readonly kind: 'directory';
  /** `undefined` for a root that no entry is about. */
  entry: TreeEntry | undefined;
  readonly children: Map<ByteString, Node>;
}

/** Anything else: an entry of a layer, by its number there. Hard links have the same. */
interface Leaf {
  readonly kind: 'leaf';
  readonly layer: number;
  readonly ordinal: number;
  readonly target: ByteString | undefined;
}

type Node = Directory | Leaf;

/** An entry as far as it matters here. */
interface Header {
  readonly names: readonly ByteString[];
  readonly ordinal: number;
  readonly type: TarEntry['type'];
  readonly link: ByteString;
  readonly directory: TreeEntry | undefined;
  readonly mtimeSeconds: number;
}

/** Names that an entry of a layer has in the end; the first is to have its content. */
export type NamesOfEntries = ReadonlyMap<number, readonly ByteString[]>;

export class MergedLayers {
  readonly #root: Directory = newDirectory(undefined);
  #layers = 0;

  /** Unpacks a layer over the ones before. Throws FORMAT, LIMIT, and what `entries` throws. */
  async add(entries: AsyncIterable<TarEntry>): Promise<void> {
    const headers: Header[] = [];
    let ordinal = 0;
    for await (const entry of entries) headers.push(headerOf(entry, ordinal++));
    // What a layer removes is of the layers below, wherever in the archive it says so.
    for (const { names } of headers) if (isWhiteout(names)) this.#remove(names);
    for (const header of headers) if (!isWhiteout(header.names)) this.#put(header);
    this.#layers++;
  }

  /** All directories, parents first. */
  *directories(): Generator<TreeEntry> {
    for (const [path, node] of this.#walk()) {
      if (node.kind === 'directory' && node.entry !== undefined) yield { ...node.entry, path };
    }
  }

  /** For each layer, the entries of it that are left and are no directories. */
  leaves(): NamesOfEntries[] {
    const layers = Array.from({ length: this.#layers }, () => new Map<number, ByteString[]>());
    for (const [path, node] of this.#walk()) {
      if (node.kind === 'directory') continue;
      const names = layers[node.layer]!.get(node.ordinal);
      if (names === undefined) layers[node.layer]!.set(node.ordinal, [path]);
      else names.push(path);
    }
    return layers;
  }

  *#walk(): Generator<[path: ByteString, node: Node]> {
    const pending: [ByteString, Node][] = [['' as ByteString, this.#root]];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      yield next;
      const [path, node] = next;
      if (node.kind !== 'directory') continue;
      for (const [name, child] of node.children) pending.push([`${path}/${name}` as ByteString, child]);
    }
  }

  #remove(names: readonly ByteString[]): void {
    const parent = this.#find(names.slice(0, -1));
    if (parent?.kind !== 'directory') return;
    const name = names.at(-1)!;
    if (name === OPAQUE) parent.children.clear();
    else if (!name.startsWith(WHITEOUT_META)) parent.children.delete(removedName(name));
  }

  #put({ names, ordinal, type, link, directory, mtimeSeconds }: Header): void {
    const name = names.at(-1);
    if (name === undefined) {
      if (directory === undefined) throw refused(names, `the root is a ${type}`);
      this.#root.entry = directory;
      return;
    }
    const { children } = this.#parent(names, mtimeSeconds);
    const existing = children.get(name);
    if (directory !== undefined && existing?.kind === 'directory') existing.entry = directory;
    else if (directory !== undefined) children.set(name, newDirectory(directory));
    else if (type === 'hardlink') children.set(name, this.#linked(names, link));
    else {
      const target = type === 'symlink' ? link : undefined;
      children.set(name, { kind: 'leaf', layer: this.#layers, ordinal, target });
    }
  }

  #linked(names: readonly ByteString[], link: ByteString): Leaf {
    const target = namesOf(link);
    const found = this.#find(target.slice(0, -1));
    const node =
      found?.kind === 'directory' ? found.children.get(target.at(-1) ?? ('' as ByteString)) : undefined;
    if (node?.kind === 'leaf') return node;
    throw refused(
      names,
      `it is a hard link of ${displayBytes(link)}, which is no file of this or an earlier layer`,
    );
  }

  /** The directory that an entry is in; made, as old as the entry, where there is none. */
  #parent(names: readonly ByteString[], mtimeSeconds: number): Directory {
    const parent = this.#find(names.slice(0, -1), impliedDirectory(mtimeSeconds));
    if (parent?.kind === 'directory') return parent;
    throw refused(names, 'what is above it is no directory');
  }

  /** What is at a path, all symlinks followed, within the image. Directories that are missing are made, if `made` is given. */
  #find(names: readonly ByteString[], made?: TreeEntry): Node | undefined {
    const pending = [...names].reverse();
    const above: Directory[] = [];
    let here: Directory = this.#root;
    let symlinks = 0;
    for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
      if (name === '..') {
        here = above.pop() ?? this.#root;
        continue;
      }
      let node = here.children.get(name);
      if (node === undefined) {
        if (made === undefined) return undefined;
        node = newDirectory(made);
        here.children.set(name, node);
      }
      if (node.kind === 'directory') {
        above.push(here);
        here = node;
      } else if (node.target === undefined) {
        return pending.length === 0 ? node : undefined;
      } else {
        if (++symlinks > MAX_SYMLINKS) throw refused(names, 'symlinks above it form a loop');
        if (node.target.startsWith('/')) {
          here = this.#root;
          above.length = 0;
        }
        pending.push(...partsOf(node.target).reverse());
      }
    }
    return here;
  }
}

function newDirectory(entry: TreeEntry | undefined): Directory {
  return { kind: 'directory', entry, children: new Map() };
}

function impliedDirectory(mtimeSeconds: number): TreeEntry {
  return {
    path: '' as ByteString,
    mode: S_IFDIR | 0o755,
    ...{ uid: 0, gid: 0, mtimeSeconds, mtimeNs: 0, rdev: 0 },
    symlink: '' as ByteString,
    xattrs: new Map(),
    linkKey: undefined,
    content: undefined,
  };
}

function headerOf(entry: TarEntry, ordinal: number): Header {
  const names = namesOf(entry.path);
  const { type, link, mtimeSeconds } = entry;
  const directory = type === 'directory' ? treeEntryOf(entry, '' as ByteString) : undefined;
  return { names, ordinal, type, link, directory, mtimeSeconds };
}

/** Throws FORMAT, LIMIT. */
function namesOf(path: ByteString): ByteString[] {
  if (path.length > MAX_PATH_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot publish ${displayBytes(path.slice(0, 80))}...: the path is too long`,
    );
  }
  return partsOf(absolutePath(path));
}

function partsOf(path: string): ByteString[] {
  return path.split('/').filter((name) => name !== '' && name !== '.') as ByteString[];
}

function isWhiteout(names: readonly ByteString[]): boolean {
  return names.at(-1)?.startsWith(WHITEOUT) ?? false;
}

function removedName(whiteout: ByteString): ByteString {
  return whiteout.slice(WHITEOUT.length) as ByteString;
}

function refused(names: readonly ByteString[], why: string): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot publish /${displayBytes(names.join('/'))} of a layer: ${why}`);
}
