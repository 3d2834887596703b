/**
 * Where a repository's files are kept. Objects are written once and never change; manifest, whitelist and reflog are
 * replaced. Paths are relative to the repository.
 */

export interface Storage {
  /** For messages. */
  readonly name: string;
  has(path: string): Promise<boolean>;
  /** `undefined` if there is no such file. Throws STORAGE. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Stores an object unless it is there already; visible only when whole. Answers whether it was new. */
  putObject(path: string, bytes: Uint8Array): Promise<boolean>;
  /** Replaces a file; readers see the old or the new one, never a part. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  /** Returns when everything stored so far survives a power cut. */
  flush(): Promise<void>;
  /** Gives up what is kept between calls; the storage can be used again. */
  close(): Promise<void>;
  /** Removes what writers that are gone have left; nobody else may be writing. What cannot be removed stays. */
  removeTemporaryFiles(): Promise<void>;
}

/** What a worker thread needs to open the same storage. */
export interface StorageLocation {
  readonly kind: 'folder';
  readonly path: string;
}
