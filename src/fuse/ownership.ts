/** Whom files are shown to belong to, and who may read them, where that is not what was published (docs/format.md). */

import { ThimbleError } from '../core/errors.ts';
import { S_IFDIR, S_IFLNK, S_IFMT } from '../core/vfs.ts';

/** Numbers of users or groups, published to shown. */
export interface IdMap {
  readonly ids: ReadonlyMap<number, number>;
  /** What those are shown as that `ids` does not have; as they are, if `undefined`. */
  readonly others: number | undefined;
}

/** Plain, so that it can be sent to another thread. */
export interface Ownership {
  /** Everything belongs to this user and group; the maps do not count. [CVMFS_CLAIM_OWNERSHIP] */
  readonly everythingOf?: { readonly uid: number; readonly gid: number } | undefined;
  /** [CVMFS_UID_MAP] */
  readonly uids?: IdMap | undefined;
  /** [CVMFS_GID_MAP] */
  readonly gids?: IdMap | undefined;
  /** Everybody may read every file and enter every directory. [CVMFS_WORLD_READABLE] */
  readonly isWorldReadable?: boolean;
}

/** The largest is what the kernel takes for "no such user". */
const MAX_ID = 2 ** 32 - 2;
const READ_BY_ALL = 0o444;
const ENTER_BY_ALL = 0o111;

/**
 * Lines of `FROM TO`, one of which may be `* TO` for all others; `#` begins a comment. `file` is named in messages. Throws
 * FORMAT.
 */
export function parseIdMap(text: string, file: string): IdMap {
  const ids = new Map<number, number>();
  let others: number | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    const words = line.replace(/#.*/, '').trim().split(/\s+/);
    if (words.length === 1 && words[0] === '') continue;
    const [from = '', to = ''] = words;
    if (words.length !== 2 || !(from === '*' || isId(from)) || !isId(to)) {
      throw new ThimbleError('FORMAT', `Cannot read ${file}, line ${index + 1}: ${JSON.stringify(line)}`, {
        hint: 'a line has two numbers, "FROM TO", or "* TO" for all others',
      });
    }
    if (from === '*') others = Number(to);
    else ids.set(Number(from), Number(to));
  }
  return { ids, others };
}

export function shownUid({ everythingOf, uids }: Ownership, uid: number): number {
  return everythingOf?.uid ?? mapped(uids, uid);
}

export function shownGid({ everythingOf, gids }: Ownership, gid: number): number {
  return everythingOf?.gid ?? mapped(gids, gid);
}

/** `st_mode`, type bits included. */
export function shownMode({ isWorldReadable }: Ownership, mode: number): number {
  const type = mode & S_IFMT;
  if (!isWorldReadable || type === S_IFLNK) return mode;
  return mode | READ_BY_ALL | (type === S_IFDIR ? ENTER_BY_ALL : 0);
}

function mapped(map: IdMap | undefined, id: number): number {
  return map === undefined ? id : (map.ids.get(id) ?? map.others ?? id);
}

function isId(word: string): boolean {
  return /^\d{1,10}$/.test(word) && Number(word) <= MAX_ID;
}
