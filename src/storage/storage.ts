/**
 * Where a repository's files are kept. Objects are written once and never change; manifest, whitelist and reflog are
 * replaced. Paths are relative to the repository. Every back end passes test/contract/storage-contract.ts.
 */

import type { S3Location } from './s3-location.ts';

export interface Storage {
  /** For messages. */
  readonly name: string;
  /** So many calls at a time are worth it; 1 where they end before they return. */
  readonly parallel: number;
  /** Makes what has to be there before anything is stored; what exists is left alone. Throws STORAGE. */
  create(): Promise<void>;
  /** Bytes of a file as stored; `undefined` if there is none. Throws STORAGE. */
  size(path: string): Promise<number | undefined>;
  /** `undefined` if there is no such file. Throws STORAGE. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Stores an object unless it is there already; visible only when whole. Answers whether it was new. */
  putObject(path: string, bytes: Uint8Array): Promise<boolean>;
  /** Replaces a file; readers see the old or the new one, never a part. */
  replace(path: string, bytes: Uint8Array): Promise<void>;
  /** Removes files; those that are not there are passed over. Throws STORAGE. */
  remove(paths: readonly string[]): Promise<void>;
  /** Every object, in no order. What is written or removed meanwhile may or may not be among them. Throws STORAGE. */
  objects(): AsyncIterable<StoredObject>;
  /** Returns when everything stored so far survives a power cut. */
  flush(): Promise<void>;
  /** Gives up what is kept between calls; the storage can be used again. */
  close(): Promise<void>;
  /** Removes what writers that are gone have left; nobody else may be writing. What cannot be removed stays. */
  removeTemporaryFiles(): Promise<void>;
}

export interface StoredObject {
  /** Below the repository: `data/ab/cdef...`. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedSeconds: number;
}

export interface FolderLocation {
  readonly kind: 'folder';
  readonly path: string;
}

/** What a worker thread needs to open the same storage. */
export type StorageLocation = FolderLocation | S3Location;
