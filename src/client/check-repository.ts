/**
 * Checks snapshots of a repository: what the manifest names, each catalog once, how catalogs agree with each other, and
 * that every object is there (docs/manual/check.md). It goes on after a finding; only what stands in the way of all
 * further checks is thrown.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { MAX_CATALOG_BYTES, type NestedReference } from '../core/catalog/catalog-reader.ts';
import { type CatalogSummary, checkCatalog, type ReferencedObject } from '../core/catalog/check-catalog.ts';
import { differencesOf, type EntryFacts } from '../core/catalog/check-entry.ts';
import { checkSubtreeCounters } from '../core/catalog/check-whole.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf, messageOf } from '../core/errors.ts';
import { findTag, findTagByDate, type History } from '../core/history.ts';
import { MANIFEST_PATH, type Manifest } from '../core/manifest.ts';
import type { Hashing } from '../core/ports.ts';
import type { ObjectCheck, ObjectFailure } from './check-objects.ts';
import type { Repository, Selection } from './repository.ts';

export interface Finding {
  readonly rule: string;
  /** Hash of the catalog that it was found in; missing where it is about none. */
  readonly catalog: string | undefined;
  /** Of the entry, in a form for people: bytes that are no text are escaped. */
  readonly path: string;
  readonly message: string;
}

export interface CheckReport {
  readonly fqrn: string;
  /** Of the first snapshot that was checked; `null` if none could be found. */
  readonly rootHash: ContentHash | null;
  readonly catalogs: number;
  /** Each once, also directories that stand in two catalogs. */
  readonly entries: number;
  /** Unique objects with content of files. */
  readonly objects: number;
  /** Their bytes as stored, where servers tell it. */
  readonly bytes: number;
  /** The first thousand. */
  readonly findings: readonly Finding[];
  readonly findingsTotal: number;
  /** False when time ran out. */
  readonly complete: boolean;
}

export interface CheckOptions {
  readonly selection: Selection;
  /** The snapshots of all tags, besides the newest. */
  readonly allTags?: boolean;
  readonly hashing: Hashing;
  /** Looks at the objects; closed by whoever opened it. */
  readonly objects: ObjectCheck;
  /** True when it is time to stop. */
  readonly isOver?: () => boolean;
  readonly onProgress?: (progress: Pick<CheckReport, 'catalogs' | 'entries' | 'objects' | 'bytes'>) => void;
}

const MAX_FINDINGS = 1000;
const MAX_METAINFO_BYTES = 1024 * 1024;
const MAX_DEPTH = 256;

interface Root {
  readonly hash: ContentHash;
  readonly sizeBytes: number;
  readonly revision: number | undefined;
}

/** Throws what `Repository.fetchManifest` throws about trust and network, and NOT_FOUND for unknown tags. */
export function checkRepository(repository: Repository, options: CheckOptions): Promise<CheckReport> {
  return new RepositoryCheck(repository, options).run();
}

class RepositoryCheck {
  readonly #repository: Repository;
  readonly #options: CheckOptions;
  readonly #findings: Finding[] = [];
  /** By mount point and hash. */
  readonly #checked = new Map<string, CatalogSummary | undefined>();
  /** Sizes of objects by type, compression and hash. */
  readonly #seen = new Map<string, number>();
  #total = 0;
  #entries = 0;
  #bytes = 0;
  #isComplete = true;

  constructor(repository: Repository, options: CheckOptions) {
    this.#repository = repository;
    this.#options = options;
  }

  async run(): Promise<CheckReport> {
    const roots = await this.#roots();
    for (const { hash, sizeBytes, revision } of roots) {
      await this.#checkTree({ path: '' as ByteString, hash, sizeBytes }, undefined, revision, 0);
    }
    await this.#options.objects.drain();
    return {
      fqrn: this.#repository.fqrn,
      rootHash: roots[0]?.hash ?? null,
      ...this.#progress(),
      findings: this.#findings,
      findingsTotal: this.#total,
      complete: this.#isComplete,
    };
  }

  // ---- what the manifest names ----

  async #roots(): Promise<Root[]> {
    const { selection, allTags } = this.#options;
    if (selection.rootHash !== undefined) {
      return [{ hash: selection.rootHash, sizeBytes: 0, revision: undefined }];
    }
    const manifest = await this.#manifest();
    if (manifest === undefined) return [];
    await this.#checkMetainfo(manifest);
    const history = await this.#history(manifest);
    if (history === undefined && hasTag(selection)) return [];
    const tags = history?.tags ?? [];
    if (history !== undefined && hasTag(selection)) {
      const { tag, dateSeconds } = selection;
      return [rootOf(tag === undefined ? findTagByDate(history, dateSeconds!) : findTag(history, tag))];
    }
    const { rootCatalog, rootCatalogSizeBytes, revision } = manifest;
    const newest = { hash: rootCatalog, sizeBytes: rootCatalogSizeBytes, revision };
    return [newest, ...(allTags ? tags.map(rootOf) : [])];
  }

  /** Damage behind a manifest that is there is a finding; no manifest at all, or no trust, ends the check. */
  async #manifest(): Promise<Manifest | undefined> {
    try {
      return await this.#repository.fetchManifest();
    } catch (error) {
      if (!DAMAGE.has(errorCodeOf(error))) throw error;
      await this.#repository.servers.probe(MANIFEST_PATH);
      this.#report('manifest', undefined, '', messageOf(error));
      return undefined;
    }
  }

  async #checkMetainfo({ metainfo }: Manifest): Promise<void> {
    if (metainfo === undefined) return;
    const { objects } = this.#repository;
    await this.#attempt('metainfo', undefined, '', () =>
      objects.load(metainfo, 'M', MAX_METAINFO_BYTES, 'metainfo'),
    );
  }

  async #history(manifest: Manifest): Promise<History | undefined> {
    const history = await this.#attempt('history', undefined, '', () =>
      this.#repository.fetchHistory(manifest),
    );
    if (manifest.history !== undefined && history?.tags.length === 0) {
      this.#report('history', undefined, '', 'the history has no tags, not even trunk');
    }
    return history;
  }

  // ---- catalogs ----

  /** Checks a catalog and all below it; answers what its parent has to agree with. */
  async #checkTree(
    { path, hash, sizeBytes }: NestedReference,
    transition: EntryFacts | undefined,
    revision: number | undefined,
    depth: number,
  ): Promise<CatalogSummary | undefined> {
    const id = `${hash}${path}`;
    let summary = this.#checked.get(id);
    if (!this.#checked.has(id)) {
      if (this.#isOver()) return undefined;
      if (depth > MAX_DEPTH) {
        this.#report('catalog-format', hash, path, `catalogs are nested deeper than ${MAX_DEPTH}`);
        return undefined;
      }
      summary = await this.#checkCatalog({ path, hash, sizeBytes }, revision);
      this.#checked.set(id, summary);
      if (summary !== undefined) await this.#checkNested(summary, hash, path, depth);
    }
    const root = summary?.root;
    if (transition !== undefined && root !== undefined) {
      const fields = differencesOf(transition, root);
      if (fields.length > 0) {
        const message = `the directory and the root of its nested catalog differ in ${fields.join(', ')}`;
        this.#report('transition-agreement', hash, path, message);
      }
    }
    return summary;
  }

  async #checkNested(
    summary: CatalogSummary,
    hash: ContentHash,
    path: ByteString,
    depth: number,
  ): Promise<void> {
    const children: ReadonlyMap<string, number>[] = [];
    for (const reference of summary.nested) {
      const transition = summary.transitions.get(reference.path);
      const child = await this.#checkTree(reference, transition, undefined, depth + 1);
      if (child !== undefined) children.push(child.statistics);
    }
    // What a catalog that is missing would add is not known.
    if (children.length < summary.nested.length) return;
    for (const { message } of checkSubtreeCounters(summary.statistics, children)) {
      this.#report('subtree-counters', hash, path, message);
    }
  }

  async #checkCatalog(
    { path, hash, sizeBytes }: NestedReference,
    revision: number | undefined,
  ): Promise<CatalogSummary | undefined> {
    const objects: ReferencedObject[] = [];
    const file = await this.#attempt('catalog-object', hash, path, () =>
      this.#repository.objects.load(hash, 'C', MAX_CATALOG_BYTES, `catalog of ${displayPath(path)}`),
    );
    if (file === undefined) return undefined;
    const summary = checkCatalog(
      file,
      { mountpoint: path, sizeBytes, revision },
      {
        hashing: this.#options.hashing,
        report: (rule, at, message) => this.#report(rule, hash, at, message),
        onObject: (object) => {
          if (this.#isNew(object, hash)) objects.push(object);
        },
      },
    );
    this.#entries += (summary?.rows ?? 0) - (summary?.nested.length ?? 0);
    await this.#checkObjects(objects, hash);
    return summary;
  }

  // ---- objects ----

  #isNew({ hash, type, compression, sizeBytes, path }: ReferencedObject, catalog: ContentHash): boolean {
    const id = `${type}${compression === 'none' ? '=' : ''}${hash}`;
    const known = this.#seen.get(id);
    if (known === undefined) this.#seen.set(id, sizeBytes);
    else if (known !== sizeBytes) {
      const message = `object ${hash}${type} has ${sizeBytes} bytes here, and ${known} in another place`;
      this.#report('object-size', catalog, path, message);
    }
    return known === undefined;
  }

  async #checkObjects(objects: readonly ReferencedObject[], catalog: ContentHash): Promise<void> {
    const { objects: check, onProgress } = this.#options;
    const onResult = ({
      storedBytes,
      failure,
    }: {
      storedBytes: number;
      failure?: ObjectFailure | undefined;
    }) => {
      this.#bytes += storedBytes;
      if (failure === undefined) return;
      const rule = failure.code === 'NOT_FOUND' ? 'object-missing' : 'object-content';
      this.#report(rule, catalog, failure.object.path, failure.message);
    };
    for (const object of objects) {
      if (this.#isOver()) return;
      await check.add(object, onResult);
      onProgress?.(this.#progress());
    }
  }

  #isOver(): boolean {
    if (this.#isComplete && this.#options.isOver?.() === true) this.#isComplete = false;
    return !this.#isComplete;
  }

  // ---- findings ----

  async #attempt<T>(
    rule: string,
    catalog: ContentHash | undefined,
    path: string,
    action: () => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      if (!DAMAGE.has(errorCodeOf(error))) throw error;
      this.#report(rule, catalog, path, messageOf(error));
      return undefined;
    }
  }

  #report(rule: string, catalog: ContentHash | undefined, path: string, message: string): void {
    if (this.#total++ >= MAX_FINDINGS) return;
    this.#findings.push({ rule, catalog, path: displayPath(path), message });
  }

  #progress() {
    return {
      catalogs: this.#checked.size,
      entries: this.#entries,
      objects: this.#seen.size,
      bytes: this.#bytes,
    };
  }
}

/** Failures of what is stored; others are of the way to it, or ours. */
export const DAMAGE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NOT_FOUND',
  'INTEGRITY',
  'FORMAT',
  'LIMIT',
  'UNSUPPORTED',
]);

function hasTag({ tag, dateSeconds }: Selection): boolean {
  return tag !== undefined || dateSeconds !== undefined;
}

function rootOf(tag: History['tags'][number]): Root {
  return { hash: tag.rootCatalog, sizeBytes: tag.rootCatalogSizeBytes, revision: tag.revision };
}

function displayPath(path: string): string {
  return path === '' ? '/' : displayBytes(path);
}
