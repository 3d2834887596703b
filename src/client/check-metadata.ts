/**
 * The first part of a check: all that a manifest names but catalogs (trust chain, metainfo, history, alternative paths), and the
 * reference log. Its result is where the catalogs begin.
 */

import type { Bytes } from '../core/bytes/byte-string.ts';
import { checkHistory } from '../core/check-history.ts';
import {
  algorithmOf,
  type ContentHash,
  hashBytes,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { errorCodeOf, messageOf } from '../core/errors.ts';
import { findTag, findTagByDate, type History, MAX_HISTORY_BYTES } from '../core/history.ts';
import { MANIFEST_PATH, type Manifest, parseManifest } from '../core/manifest.ts';
import { decodeProfileIndex, MAX_PROFILE_INDEX_BYTES, objectsOfProfiles } from '../core/profile-index.ts';
import {
  decodeReflog,
  MAX_REFLOG_BYTES,
  OBJECT_TYPE_OF,
  REFLOG_PATH,
  type Reference,
} from '../core/reflog.ts';
import { MAX_SIGNED_TEXT_BYTES } from '../core/signed-text.ts';
import type { CheckContext } from './check-context.ts';
import { verifyStoredBytes } from './check-objects.ts';
import { readWhole } from './objects.ts';
import type { Selection } from './repository.ts';

/** A root catalog to begin with. */
export interface CheckRoot {
  readonly hash: ContentHash;
  /** Inflated; 0 when unknown. */
  readonly sizeBytes: number;
  readonly revision: number | undefined;
}

export interface MetadataCheckOptions {
  readonly selection: Selection;
  readonly allTags: boolean;
  /** Of the reference log, kept beside the repository: newer than what the manifest says. */
  readonly reflogChecksum?: ContentHash | undefined;
}

export interface CheckedMetadata {
  readonly roots: readonly CheckRoot[];
  readonly manifest: Manifest | undefined;
  /** `undefined` if there is no reference log, or none that can be read, or if a single snapshot is looked at. */
  readonly references: readonly Reference[] | undefined;
  /** What the profiles of the manifest need: whole objects of type ''. */
  readonly profileObjects: readonly ContentHash[];
}

const MAX_METAINFO_BYTES = 1024 * 1024;

/** Throws what `Repository.fetchManifest` throws about trust and network, and NOT_FOUND for unknown tags. */
export async function checkMetadata(
  context: CheckContext,
  options: MetadataCheckOptions,
): Promise<CheckedMetadata> {
  const { selection, allTags, reflogChecksum } = options;
  const { rootHash, tag, dateSeconds } = selection;
  const nothing = { manifest: undefined, references: undefined, profileObjects: [] };
  if (rootHash !== undefined) {
    return { ...nothing, roots: [{ hash: rootHash, sizeBytes: 0, revision: undefined }] };
  }
  const manifest = await checkManifest(context);
  if (manifest === undefined) return { ...nothing, roots: [] };
  await checkMetainfo(context, manifest);
  if (manifest.hasAlternativePaths) await checkAlternativePaths(context, manifest);
  const history = await readHistory(context, manifest);
  if (tag !== undefined || dateSeconds !== undefined) {
    if (history === undefined) return { ...nothing, manifest, roots: [] };
    const found = tag === undefined ? findTagByDate(history, dateSeconds!) : findTag(history, tag);
    return { ...nothing, manifest, roots: [rootOf(found)] };
  }
  const references = await checkReflog(context, manifest, reflogChecksum);
  const profileObjects = await checkProfiles(context, manifest);
  const { rootCatalog, rootCatalogSizeBytes, revision } = manifest;
  const newest = { hash: rootCatalog, sizeBytes: rootCatalogSizeBytes, revision };
  const tags = allTags ? (history?.tags ?? []) : [];
  return { manifest, references, profileObjects, roots: [newest, ...tags.map(rootOf)] };
}

function placeOf(rule: string) {
  return { rule, catalog: undefined, path: '' };
}

/** Damage behind a manifest that is there is a finding; no manifest at all, or no trust, ends the check. */
async function checkManifest(context: CheckContext): Promise<Manifest | undefined> {
  const { repository } = context;
  const fetch = () => repository.fetchManifest();
  try {
    return await fetch();
  } catch (error) {
    if (!context.isDamage(error)) throw error;
    await repository.servers.probe(MANIFEST_PATH);
    const place = placeOf('manifest');
    const certificate = context.canRepair ? await namedCertificate(context) : undefined;
    if (certificate === undefined) {
      context.report(place, messageOf(error));
      return undefined;
    }
    const object = { hash: certificate, type: 'X' as const };
    const isRepaired = await context.repairOrReport(place, object, messageOf(error));
    return isRepaired ? context.attempt(place, fetch) : undefined;
  }
}

/** Of a manifest that nobody has verified: good enough to fetch what has this hash. */
async function namedCertificate({ repository, hashing }: CheckContext): Promise<ContentHash | undefined> {
  try {
    return await repository.servers.fetch(MANIFEST_PATH, async (file) => {
      const bytes = await readWhole(file, MAX_SIGNED_TEXT_BYTES);
      return parseManifest(hashing, bytes).manifest.certificate;
    });
  } catch {
    // What is wrong with it has been said by whoever wanted to verify it.
    return undefined;
  }
}

async function checkMetainfo(context: CheckContext, { metainfo }: Manifest): Promise<void> {
  if (metainfo === undefined) return;
  const object = { hash: metainfo, type: 'M' as const, limitBytes: MAX_METAINFO_BYTES, label: 'metainfo' };
  await context.load(placeOf('metainfo'), object);
}

/** Replicas of other software lack the index, and readers do without: then there is nothing to check. */
async function checkProfiles(context: CheckContext, { profiles }: Manifest): Promise<readonly ContentHash[]> {
  if (profiles === undefined) return [];
  const place = placeOf('profiles');
  try {
    await context.repository.servers.probe(objectPath(profiles, ''));
  } catch (error) {
    if (errorCodeOf(error) !== 'NOT_FOUND') throw error;
    context.note(place.rule, 'the profiles that the manifest names are missing; mounts do without them');
    return [];
  }
  const object = {
    hash: profiles,
    type: '' as const,
    limitBytes: MAX_PROFILE_INDEX_BYTES,
    label: 'profiles',
  };
  const bytes = await context.load(place, object);
  if (bytes === undefined) return [];
  const index = await context.attempt(place, async () => decodeProfileIndex(bytes));
  return index === undefined ? [] : [...objectsOfProfiles(index)];
}

async function readHistory(context: CheckContext, manifest: Manifest): Promise<History | undefined> {
  const place = placeOf('history');
  const { history } = manifest;
  if (history !== undefined) {
    const object = { hash: history, type: 'H' as const, limitBytes: MAX_HISTORY_BYTES, label: 'history' };
    if ((await context.load(place, object)) === undefined) return undefined;
  }
  const decoded = await context.attempt(place, () => context.repository.fetchHistory(manifest));
  if (history !== undefined && decoded !== undefined) {
    for (const message of checkHistory(decoded)) context.report(place, message);
  }
  return decoded;
}

/** Links beside `data/`, for servers where that is not public. Clients need the first two. */
async function checkAlternativePaths(context: CheckContext, manifest: Manifest): Promise<void> {
  const { rootCatalog, certificate, history, metainfo } = manifest;
  const links: readonly [ContentHash | undefined, ObjectType, isNeeded: boolean][] = [
    [rootCatalog, 'C', true],
    [certificate, 'X', true],
    [history, 'H', false],
    [metainfo, 'M', false],
  ];
  const { repository, hashing } = context;
  for (const [hash, type, isNeeded] of links) {
    if (hash === undefined) continue;
    const place = placeOf('alternative-paths');
    try {
      await verifyStoredBytes(repository.servers, hashing, hash, `.cvmfsalt-${hash}${type}`);
    } catch (error) {
      if (!context.isDamage(error)) throw error;
      if (isNeeded || errorCodeOf(error) !== 'NOT_FOUND') context.report(place, messageOf(error));
    }
  }
}

// ---- the reference log ----

async function checkReflog(
  context: CheckContext,
  manifest: Manifest,
  checksum: ContentHash | undefined,
): Promise<readonly Reference[] | undefined> {
  const file = await fetchReflog(context, manifest);
  if (file === undefined) return undefined;
  const place = placeOf('reflog');
  compareReflogHash(context, file, manifest, checksum);
  const references = await context.attempt(place, async () => decodeReflog(file));
  if (references === undefined) return undefined;
  const listed = new Set(references.map(({ hash, type }) => `${hash}${OBJECT_TYPE_OF[type]}`));
  const { rootCatalog, certificate, history, metainfo } = manifest;
  for (const [hash, type] of [
    [rootCatalog, 'C'],
    [certificate, 'X'],
    [history, 'H'],
    [metainfo, 'M'],
  ] as const) {
    if (hash === undefined || listed.has(`${hash}${type}`)) continue;
    context.report(place, `${objectPath(hash, type)}, which the manifest names, is not in the reference log`);
  }
  return references;
}

/** Web servers need not have it: it is of use where the storage is. */
async function fetchReflog(context: CheckContext, { reflog }: Manifest): Promise<Bytes | undefined> {
  const { servers } = context.repository;
  try {
    return await servers.fetch(REFLOG_PATH, (file) => readWhole(file, MAX_REFLOG_BYTES));
  } catch (error) {
    if (!context.isDamage(error)) throw error;
    const isNeeded = errorCodeOf(error) !== 'NOT_FOUND' || (context.isLocal && reflog !== undefined);
    if (isNeeded) context.report(placeOf('reflog'), messageOf(error));
    else context.note('reflog', 'there is no reference log');
    return undefined;
  }
}

/** A garbage collection changes the log, and signs no manifest; every replica has a log of its own. */
function compareReflogHash(
  context: CheckContext,
  file: Bytes,
  { reflog, rootCatalog }: Manifest,
  checksum: ContentHash | undefined,
): void {
  const expected = checksum ?? reflog;
  if (expected === undefined) return;
  const actual = hashBytes(context.hashing, algorithmOf(expected ?? rootCatalog), file);
  if (actual === expected || actual === reflog) return;
  const message = `the reference log hashes to ${actual}`;
  if (checksum !== undefined) context.report(placeOf('reflog'), `${message}, ${checksum} expected`);
  else context.note('reflog', `${message}, not to what the manifest says; a garbage collection changes it`);
}

function rootOf(tag: History['tags'][number]): CheckRoot {
  return { hash: tag.rootCatalog, sizeBytes: tag.rootCatalogSizeBytes, revision: tag.revision };
}
