/**
 * Checks snapshots of a repository: what the manifest names (check-metadata.ts), each catalog once, how catalogs agree with
 * each other, and that every object is there (docs/manual/check.md). It goes on after a finding; only what stands in the way
 * of all further checks is thrown.
 */

import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { MAX_CATALOG_BYTES, type NestedReference } from '../core/catalog/catalog-reader.ts';
import {
  type CatalogSummary,
  checkCatalog,
  type ReferencedObject,
  summarizeCatalog,
} from '../core/catalog/check-catalog.ts';
import { differencesOf } from '../core/catalog/check-entry.ts';
import { checkSubtreeCounters } from '../core/catalog/check-whole.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { Manifest } from '../core/manifest.ts';
import { OBJECT_TYPE_OF, type Reference } from '../core/reflog.ts';
import { CheckContext, type CheckContextOptions, type FindingPlace } from './check-context.ts';
import type { Finding } from './check-findings.ts';
import { type CheckedMetadata, checkMetadata, type MetadataCheckOptions } from './check-metadata.ts';
import type { CheckedObject, ObjectCheck } from './check-objects.ts';
import type { CheckState } from './check-state.ts';
import { findUnreferenced, type StoredFiles, type Unreferenced } from './check-unreferenced.ts';
import { CheckedObjects } from './checked-objects.ts';
import type { Repository } from './repository.ts';
import { Verification } from './verification.ts';

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
  /** Trees of catalogs, and objects elsewhere, that a former check has found to be sound, and this one has passed over. */
  readonly verifiedBefore: { readonly trees: number; readonly objects: number };
  /** The first thousand. */
  readonly findings: readonly Finding[];
  readonly findingsTotal: number;
  /** The first thousand objects that were bad and are no more; in a dry run, that need not stay bad. */
  readonly repaired: readonly Finding[];
  readonly repairedTotal: number;
  /** Worth knowing, and not wrong. */
  readonly notes: readonly Finding[];
  /** Only where it was asked for, and if the check is complete. */
  readonly unreferenced?: Unreferenced;
  /** False when time ran out. */
  readonly complete: boolean;
}

export type CheckProgress = Pick<CheckReport, 'catalogs' | 'entries' | 'objects' | 'bytes'>;

export interface CheckOptions
  extends CheckContextOptions,
    Pick<MetadataCheckOptions, 'selection' | 'reflogChecksum'> {
  /** The snapshots of all tags, besides the newest. */
  readonly allTags?: boolean;
  /** Looks at the objects; closed by whoever opened it. */
  readonly objects: ObjectCheck;
  /** What former checks have found to be sound; this one adds to it. */
  readonly state?: CheckState | undefined;
  /**
   * Look for what nothing names: all snapshots are checked, also those that the reference log alone knows. Not together with
   * a state, which passes over catalogs.
   */
  readonly storedFiles?: StoredFiles | undefined;
  /** True when it is time to stop. */
  readonly isOver?: () => boolean;
  readonly onProgress?: (progress: CheckProgress) => void;
}

const MAX_DEPTH = 256;

/** What is left of a catalog after its check. */
interface CheckedTree extends Partial<Pick<CatalogSummary, 'root' | 'statistics'>> {
  readonly verification: Verification;
}

/** Throws what `checkMetadata` throws, and STORAGE if a repair or the list of stored files fails. */
export function checkRepository(repository: Repository, options: CheckOptions): Promise<CheckReport> {
  return new RepositoryCheck(repository, options).run();
}

class RepositoryCheck {
  readonly #context: CheckContext;
  readonly #options: CheckOptions;
  /** By mount point and hash. */
  readonly #checked = new Map<string, CheckedTree>();
  readonly #objects: CheckedObjects;
  /** Named, besides what is in `#objects`. */
  readonly #named = new Set<string>();
  #entries = 0;
  #treesBefore = 0;
  #isComplete = true;

  constructor(repository: Repository, options: CheckOptions) {
    this.#context = new CheckContext(repository, options);
    this.#options = options;
    this.#objects = new CheckedObjects(this.#context, options.objects, options.state);
  }

  async run(): Promise<CheckReport> {
    const { selection, reflogChecksum, storedFiles, allTags = false } = this.#options;
    const metadata = await checkMetadata(this.#context, {
      selection,
      reflogChecksum,
      allTags: allTags || storedFiles !== undefined,
    });
    const { roots, references = [] } = metadata;
    for (const { hash, sizeBytes, revision } of roots) await this.#checkRoot(hash, sizeBytes, revision);
    await this.#checkReferences(references, metadata.manifest);
    for (const hash of metadata.profileObjects) await this.#checkProfileObject(hash);
    if (storedFiles !== undefined) {
      for (const { hash, type } of references) {
        if (type === 'catalog') await this.#checkRoot(hash, 0, undefined);
      }
    }
    await this.#objects.drain();
    const unreferenced = await this.#findUnreferenced(storedFiles, metadata);
    return this.#report(roots[0]?.hash ?? null, unreferenced);
  }

  #report(rootHash: ContentHash | null, unreferenced: Unreferenced | undefined): CheckReport {
    const { repository, findings, repaired, notes } = this.#context;
    return {
      fqrn: repository.fqrn,
      rootHash,
      ...this.#progress(),
      verifiedBefore: { trees: this.#treesBefore, objects: this.#objects.verifiedBefore },
      findings: findings.kept,
      findingsTotal: findings.total,
      repaired: repaired.kept,
      repairedTotal: repaired.total,
      notes: notes.kept,
      ...(unreferenced === undefined ? {} : { unreferenced }),
      complete: this.#isComplete,
    };
  }

  // ---- catalogs ----

  async #checkRoot(hash: ContentHash, sizeBytes: number, revision: number | undefined): Promise<void> {
    const path = '' as ByteString;
    this.#named.add(`${hash}C`);
    // Nothing has to agree with it, so that not even its summary is needed.
    const isKnown = this.#checked.has(hash);
    if (!isKnown && this.#options.state?.isTreeVerified(hash, path)) this.#treesBefore++;
    else await this.#checkTree({ path, hash, sizeBytes }, revision, 0);
  }

  /** Checks a catalog and all below it. `undefined` when there was no time. */
  async #checkTree(
    reference: NestedReference,
    revision: number | undefined,
    depth: number,
  ): Promise<CheckedTree | undefined> {
    const { path, hash } = reference;
    const id = `${hash}${path}`;
    const known = this.#checked.get(id);
    if (known !== undefined) return known;
    if (this.#isOver()) return undefined;
    const place = { rule: 'catalog-format', catalog: hash, path };
    if (depth > MAX_DEPTH) {
      this.#context.report(place, `catalogs are nested deeper than ${MAX_DEPTH}`);
      return spoiledTree();
    }
    const isVerified = this.#options.state?.isTreeVerified(hash, path) ?? false;
    if (isVerified) {
      const tree = await this.#summarize(reference);
      this.#checked.set(id, tree);
      this.#treesBefore++;
      return tree;
    }
    const verification = new Verification(() => this.#options.state?.addTree(hash, path));
    const summary = await this.#checkCatalog(reference, revision, verification);
    this.#checked.set(id, {
      root: summary?.root,
      ...(summary === undefined ? {} : { statistics: summary.statistics }),
      verification,
    });
    if (summary === undefined) verification.spoil();
    else await this.#checkNested(summary, reference, verification, depth);
    // Otherwise there is something in it that was not looked at.
    if (this.#isComplete) verification.finish();
    return this.#checked.get(id);
  }

  async #checkNested(
    summary: CatalogSummary,
    { hash, path }: NestedReference,
    verification: Verification,
    depth: number,
  ): Promise<void> {
    const report = (place: FindingPlace, message: string) => {
      verification.spoil();
      this.#context.report(place, message);
    };
    const children: ReadonlyMap<string, number>[] = [];
    for (const reference of summary.nested) {
      const child = await this.#checkTree(reference, undefined, depth + 1);
      if (child === undefined) return;
      verification.dependOn(child.verification);
      if (child.statistics !== undefined) children.push(child.statistics);
      const transition = summary.transitions.get(reference.path);
      if (transition === undefined || child.root === undefined) continue;
      const fields = differencesOf(transition, child.root);
      if (fields.length > 0) {
        const message = `the directory and the root of its nested catalog differ in ${fields.join(', ')}`;
        report({ rule: 'transition-agreement', catalog: reference.hash, path: reference.path }, message);
      }
    }
    // What a catalog that is missing would add is not known.
    if (children.length < summary.nested.length) return;
    for (const { message } of checkSubtreeCounters(summary.statistics, children)) {
      report({ rule: 'subtree-counters', catalog: hash, path }, message);
    }
  }

  async #checkCatalog(
    { path, hash, sizeBytes }: NestedReference,
    revision: number | undefined,
    verification: Verification,
  ): Promise<CatalogSummary | undefined> {
    const objects: ReferencedObject[] = [];
    const file = await this.#loadCatalog(hash, path);
    if (file === undefined) return undefined;
    const summary = checkCatalog(
      file,
      { mountpoint: path, sizeBytes, revision },
      {
        hashing: this.#context.hashing,
        report: (rule, at, message) => {
          verification.spoil();
          this.#context.report({ rule, catalog: hash, path: at }, message);
        },
        onObject: (object) => {
          if (this.#objects.claim(object, hash, verification)) objects.push(object);
        },
      },
    );
    this.#entries += (summary?.rows ?? 0) - (summary?.nested.length ?? 0);
    for (const object of objects) {
      if (this.#isOver()) break;
      await this.#objects.check(object, hash, verification);
      this.#options.onProgress?.(this.#progress());
    }
    return summary;
  }

  /** Of a tree that was verified before, what the catalog above it has to agree with. */
  async #summarize({ hash, path, sizeBytes }: NestedReference): Promise<CheckedTree> {
    const file = await this.#loadCatalog(hash, path);
    if (file === undefined) return spoiledTree();
    const place = { rule: 'catalog-format', catalog: hash, path };
    const summary = await this.#context.attempt(place, async () =>
      summarizeCatalog(file, path, this.#context.hashing),
    );
    if (summary === undefined) return spoiledTree();
    const verification = new Verification();
    if (sizeBytes !== 0 && sizeBytes !== file.length) {
      verification.spoil();
      const message = `it has ${file.length} bytes, ${sizeBytes} expected`;
      this.#context.report({ ...place, rule: 'catalog-size' }, message);
    }
    verification.finish();
    return { ...summary, verification };
  }

  async #loadCatalog(hash: ContentHash, path: ByteString): Promise<Bytes | undefined> {
    return this.#context.load(
      { rule: 'catalog-object', catalog: hash, path },
      { hash, type: 'C', limitBytes: MAX_CATALOG_BYTES, label: `catalog of ${displayBytes(path) || '/'}` },
    );
  }

  // ---- objects without a place in a catalog ----

  /** What the reference log names has to be there, for as long as it is named. */
  async #checkReferences(references: readonly Reference[], manifest: Manifest | undefined): Promise<void> {
    for (const id of namedBy(manifest)) this.#named.add(id);
    for (const { hash, type: what } of references) {
      const type = OBJECT_TYPE_OF[what];
      // What the manifest and the tags name has been read.
      if (this.#named.has(`${hash}${type}`)) continue;
      this.#named.add(`${hash}${type}`);
      const object = bareObject(hash, type);
      if (!this.#objects.claimNamed(object)) continue;
      if (this.#isOver()) return;
      await this.#objects.checkNamed(object, 'reflog-object');
    }
  }

  /** Tables and packs of profiles; the index has been read. */
  async #checkProfileObject(hash: ContentHash): Promise<void> {
    if (this.#named.has(hash) || this.#isOver()) return;
    this.#named.add(hash);
    const object = bareObject(hash, '');
    if (this.#objects.claimNamed(object)) await this.#objects.checkNamed(object, 'profile-object');
  }

  async #findUnreferenced(
    files: StoredFiles | undefined,
    { manifest, references }: CheckedMetadata,
  ): Promise<Unreferenced | undefined> {
    if (files === undefined || !this.#isComplete) return undefined;
    const canTell = manifest !== undefined && references !== undefined;
    if (!canTell) {
      this.#context.note('stored-files', 'without a reference log, nobody can tell what nothing names');
    }
    // Keys are hash and mount point; nested catalogs are named by the catalogs above them.
    for (const id of this.#checked.keys()) this.#named.add(`${id.split('/')[0]}C`);
    const unreferenced = await findUnreferenced(files, {
      isNamed: (hash, type) =>
        !canTell || this.#named.has(`${hash}${type}`) || this.#objects.isKnown(hash, type),
      onStray: (path, message) =>
        this.#context.report({ rule: 'stored-files', catalog: undefined, path }, message),
      onUnreferenced: (hash, type) => this.#objects.checkNamed(bareObject(hash, type), 'stored-files'),
    });
    await this.#objects.drain();
    return unreferenced;
  }

  #isOver(): boolean {
    if (this.#isComplete && this.#options.isOver?.() === true) this.#isComplete = false;
    return !this.#isComplete;
  }

  #progress(): CheckProgress {
    const { count, bytes } = this.#objects;
    return { catalogs: this.#checked.size, entries: this.#entries, objects: count, bytes };
  }
}

function spoiledTree(): CheckedTree {
  const verification = new Verification();
  verification.spoil();
  verification.finish();
  return { verification };
}

function namedBy(manifest: Manifest | undefined): string[] {
  if (manifest === undefined) return [];
  const { rootCatalog, certificate, history, metainfo, profiles } = manifest;
  return [`${rootCatalog}C`, `${certificate}X`, `${history}H`, `${metainfo}M`, `${profiles}`];
}

/** An object of which only the bytes as stored can be checked. */
function bareObject(hash: ContentHash, type: CheckedObject['type']): CheckedObject {
  return { hash, type, compression: 'zlib', sizeBytes: undefined, path: '' as ByteString };
}
