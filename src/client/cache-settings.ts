/** What a reader may be told about its cache. Names in brackets are the parameters of the CernVM-FS client that mean the same. */

export interface CacheSettings {
  /** Where content is kept; `undefined`: in memory alone. [CVMFS_CACHE_BASE], [CVMFS_CACHE_PRIMARY of type ram] */
  readonly folder: string | undefined;
  /** [CVMFS_QUOTA_LIMIT], [CVMFS_CACHE_<i>_SIZE] */
  readonly limitBytes: number;
  /** What is left free on the disk, whatever the limit says. */
  readonly keepFreeBytes: number;
  /** Folders of the same kind that are read and never written, asked in order before the network. [CVMFS_CACHE_<i>_LOWER] */
  readonly lowerFolders: readonly string[];
}

export const DEFAULT_CACHE_SETTINGS: CacheSettings = {
  folder: undefined,
  limitBytes: 4 * 1024 ** 3,
  keepFreeBytes: 64 * 1024 ** 2,
  lowerFolders: [],
};
