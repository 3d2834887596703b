/**
 * Writes a tree into a new folder. Names come from outside: each entry is made where nothing was before, in a directory
 * that was made here too, so that no symlink of the tree is ever followed.
 */

import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
} from 'node:fs';
import { getSystemErrorName } from 'node:util';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { parentPath } from '../core/path-key.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from '../core/vfs.ts';
import type { Losses } from './losses.ts';
import { SparseFile } from './sparse-file.ts';
import {
  EACCES,
  EINVAL,
  EOPNOTSUPP,
  EPERM,
  makeNode,
  setTimes,
  setXattr,
  syncFileSystem,
} from './system-calls.ts';

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const SET_ID_BITS = 0o6000;
const PERMISSIONS = 0o7777;

export type EntryObserver = (entry: TreeEntry) => void;

/**
 * Fills `folder`, which exists and is empty, and that nobody else writes to meanwhile. Entries come parents first, each
 * directory with all below it. Throws FORMAT, STORAGE.
 */
export async function writeFolder(tree: Tree, folder: string, losses: Losses): Promise<void> {
  const writer = new FolderWriter(folder, losses);
  for await (const entry of tree.entries()) await writer.add(entry);
  writer.finish();
}

class FolderWriter {
  readonly #folder: ByteString;
  readonly #losses: Losses;
  /** Directories whose entries are being written, from the root down. They get their times last. */
  readonly #open: TreeEntry[] = [];
  readonly #firstOfLink = new Map<string, ByteString>();

  constructor(folder: string, losses: Losses) {
    this.#folder = Buffer.from(folder).toString('latin1') as ByteString;
    this.#losses = losses;
  }

  async add(entry: TreeEntry): Promise<void> {
    const { path, mode } = entry;
    const isDirectory = (mode & S_IFMT) === S_IFDIR;
    if (path === '' && this.#open.length === 0 && isDirectory) {
      this.#open.push(entry);
      return;
    }
    while (this.#open.length > 0 && this.#open.at(-1)!.path !== parentPath(path)) this.#close();
    if (path === '' || this.#open.length === 0) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot write ${displayBytes(path) || '/'}: it does not follow its directory`,
      );
    }
    if (isDirectory) {
      this.#attempt(path, () => mkdirSync(this.#disk(path), 0o700));
      this.#open.push(entry);
    } else if ((mode & S_IFMT) === S_IFREG) await this.#addFile(entry);
    else this.#addOther(entry);
  }

  /** Completes the directories, and waits until everything is written. */
  finish(): void {
    while (this.#open.length > 0) this.#close();
    const fd = openSync(this.#disk('' as ByteString), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      this.#check('' as ByteString, syncFileSystem(fd));
    } finally {
      closeSync(fd);
    }
  }

  #close(): void {
    const entry = this.#open.pop()!;
    const disk = this.#disk(entry.path);
    const isOwned = this.#tryOwner(entry, () => lchownSync(disk, entry.uid, entry.gid));
    this.#setXattrs(entry);
    this.#attempt(entry.path, () => chmodSync(disk, this.#modeOf(entry, isOwned)));
    this.#setTimes(entry);
  }

  async #addFile(entry: TreeEntry): Promise<void> {
    const { path, content, linkKey } = entry;
    const first = linkKey === undefined ? undefined : this.#firstOfLink.get(linkKey);
    if (first !== undefined && content === undefined) {
      this.#attempt(path, () => linkSync(this.#disk(first), this.#disk(path)));
      return;
    }
    if (content?.kind !== 'stream') throw new ThimbleError('INTERNAL', 'A file of a snapshot has no content');
    if (linkKey !== undefined) this.#firstOfLink.set(linkKey, path);
    const fd = this.#attempt(path, () => openSync(this.#disk(path), NEW_FILE, 0o600));
    try {
      const file = new SparseFile(fd);
      for await (const bytes of content.chunks) this.#attempt(path, () => file.write(bytes));
      this.#attempt(path, () => file.end());
      if (file.length !== content.sizeBytes) {
        throw new ThimbleError(
          'FORMAT',
          `Cannot write ${displayBytes(path)}: it has ${file.length} bytes, ${content.sizeBytes} expected`,
        );
      }
      const isOwned = this.#tryOwner(entry, () => fchownSync(fd, entry.uid, entry.gid));
      this.#attempt(path, () => fchmodSync(fd, this.#modeOf(entry, isOwned)));
    } finally {
      closeSync(fd);
    }
    // After the owner: changing that removes capabilities.
    this.#setXattrs(entry);
    this.#setTimes(entry);
  }

  #addOther(entry: TreeEntry): void {
    const { path, mode, rdev, symlink } = entry;
    const disk = this.#disk(path);
    const kind = mode & S_IFMT;
    switch (kind) {
      case S_IFLNK:
        this.#attempt(path, () => symlinkSync(Buffer.from(symlink, 'latin1'), disk));
        break;
      case S_IFCHR:
      case S_IFBLK: {
        const errno = makeNode(this.#path(path), kind | 0o600, rdev);
        if (errno === EPERM) {
          this.#losses.note('device', path, 'only root can make devices');
          return;
        }
        this.#check(path, errno);
        break;
      }
      case S_IFIFO:
      case S_IFSOCK:
        this.#check(path, makeNode(this.#path(path), kind | 0o600, 0));
        break;
      default:
        throw new ThimbleError(
          'FORMAT',
          `Cannot write ${displayBytes(path)}: mode ${mode.toString(8)} is of nothing`,
        );
    }
    const isOwned = this.#tryOwner(entry, () => lchownSync(disk, entry.uid, entry.gid));
    if (kind !== S_IFLNK) this.#attempt(path, () => chmodSync(disk, this.#modeOf(entry, isOwned)));
    this.#setXattrs(entry);
    this.#setTimes(entry);
  }

  /** A program that belongs to somebody else than it should must not give their rights. */
  #modeOf({ path, mode }: TreeEntry, isOwned: boolean): number {
    if (isOwned || (mode & SET_ID_BITS) === 0 || (mode & S_IFMT) === S_IFDIR) return mode & PERMISSIONS;
    this.#losses.note('set-id-bits', path, 'they would give the rights of another owner');
    return mode & PERMISSIONS & ~SET_ID_BITS;
  }

  #tryOwner({ path }: TreeEntry, change: () => void): boolean {
    try {
      change();
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw writeFailure(path, error);
      this.#losses.note('owner', path, 'only root can give files to others');
      return false;
    }
  }

  #setXattrs({ path, xattrs }: TreeEntry): void {
    for (const [name, value] of xattrs) {
      const errno = setXattr(this.#path(path), name, value);
      if ([EPERM, EACCES, EINVAL, EOPNOTSUPP].includes(errno)) {
        this.#losses.note('xattr', path, 'the file system or the rights of this user do not allow it');
      } else this.#check(path, errno);
    }
  }

  #setTimes({ path, mtimeSeconds, mtimeNs }: TreeEntry): void {
    this.#check(path, setTimes(this.#path(path), mtimeSeconds, mtimeNs));
  }

  #path(path: ByteString): ByteString {
    return (this.#folder + path) as ByteString;
  }

  #disk(path: ByteString): Buffer {
    return Buffer.from(this.#folder + path, 'latin1');
  }

  #check(path: ByteString, errno: number): void {
    if (errno !== 0) this.#attempt(path, () => fail(errno));
  }

  #attempt<T>(path: ByteString, action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw writeFailure(path, error);
    }
  }
}

function fail(errno: number): never {
  const code = getSystemErrorName(-errno);
  throw Object.assign(new Error(code), { code });
}

function writeFailure(path: ByteString, error: unknown): ThimbleError {
  const name = displayBytes(path) || '/';
  // Nothing else is in the folder, so the tree has it already.
  return (error as NodeJS.ErrnoException).code === 'EEXIST'
    ? new ThimbleError('FORMAT', `Cannot write ${name}: the snapshot has this path twice`, { cause: error })
    : new ThimbleError('STORAGE', `Cannot write ${name}`, { cause: error });
}
