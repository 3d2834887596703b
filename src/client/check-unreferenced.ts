/** Looks at the files of a storage one by one: what nothing names, and what should not be there at all. */

import { type ContentHash, isContentHash, type ObjectType } from '../core/content-hash.ts';

/** Something in `data/` of a storage. */
export interface StoredFile {
  /** Below the repository. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly isRegular: boolean;
}

/** All of `data/` but temporary files. Throws STORAGE. */
export interface StoredFiles {
  list(): AsyncIterable<StoredFile>;
}

/** Objects that no catalog, tag or reference log names. */
export interface Unreferenced {
  readonly objects: number;
  readonly bytes: number;
  /** The first thousand. */
  readonly paths: readonly string[];
}

export interface UnreferencedOptions {
  readonly isNamed: (hash: ContentHash, type: ObjectType) => boolean;
  /** Called for each file that is no object. */
  readonly onStray: (path: string, message: string) => void;
  readonly onUnreferenced: (hash: ContentHash, type: ObjectType) => Promise<void>;
}

const MAX_PATHS = 1000;
/** A name of hexadecimal digits, an algorithm, a letter; and what the letter may be, micro catalogs (L) included. */
const NAME = /^data\/([0-9a-f]{2})\/([0-9a-f]{38})(-rmd160|-shake128)?([A-Z]?)$/;
const KNOWN_TYPES = /^[CHLMPX]?$/;

export async function findUnreferenced(
  files: StoredFiles,
  { isNamed, onStray, onUnreferenced }: UnreferencedOptions,
): Promise<Unreferenced> {
  const paths: string[] = [];
  let objects = 0;
  let bytes = 0;
  for await (const { path, sizeBytes, isRegular } of files.list()) {
    const [, shard = '', rest = '', algorithm = '', letter = ''] = NAME.exec(path) ?? [];
    const hash = shard + rest + algorithm;
    if (!isContentHash(hash)) onStray(path, `${path} is not the name of an object`);
    else if (!KNOWN_TYPES.test(letter))
      onStray(path, `${path} ends with ${letter}, which is no type of objects`);
    else if (!isRegular) onStray(path, `${path} is not a file`);
    else if (sizeBytes === 0) onStray(path, `${path} is empty`);
    else if (!isNamed(hash, letter as ObjectType)) {
      objects++;
      bytes += sizeBytes;
      if (paths.length < MAX_PATHS) paths.push(path);
      await onUnreferenced(hash, letter as ObjectType);
    }
  }
  return { objects, bytes, paths };
}
