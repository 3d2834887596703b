/**
 * The revisions of a repository, as far as it still tells: those that have a tag, and those that `trunk` named before,
 * which each history knows through the one before it.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import { type ContentHash, isContentHash, NULL_HASH } from '../core/content-hash.ts';
import { errorCodeOf, ThimbleError } from '../core/errors.ts';
import { type History, isMaintainedTag, type Tag, TRUNK } from '../core/history.ts';
import type { Repository, Snapshot } from './repository.ts';

export interface Revision {
  readonly revision: number;
  readonly timestampSeconds: number;
  readonly rootCatalog: ContentHash;
  /** Names that it has now; `trunk` and `trunk-previous` last. */
  readonly tags: readonly string[];
  /** Descriptions of its tags. */
  readonly message: string;
}

/** The newest `count` revisions, newest first. Throws as `Repository.fetchManifest` and `loadHistory` do. */
export async function listRevisions(
  repository: Repository,
  count: number = Number.POSITIVE_INFINITY,
): Promise<Revision[]> {
  const manifest = await repository.fetchManifest();
  const history = await repository.fetchHistory(manifest);
  const trunk = new Map<ContentHash, Revision>();
  const { rootCatalog, revision, publishedSeconds = 0 } = manifest;
  trunk.set(rootCatalog, {
    rootCatalog,
    revision,
    timestampSeconds: publishedSeconds,
    tags: [],
    message: '',
  });
  for await (const { tags } of historiesFrom(repository, history)) {
    const head = tags.find(({ name }) => name === TRUNK);
    if (head !== undefined) trunk.set(head.rootCatalog, revisionOf(head, []));
    if (trunk.size >= count) break;
  }
  const all = new Map(trunk);
  const tagsOf = new Map<ContentHash, Tag[]>();
  for (const tag of history.tags) {
    tagsOf.set(tag.rootCatalog, [...(tagsOf.get(tag.rootCatalog) ?? []), tag]);
  }
  for (const [hash, tags] of tagsOf) all.set(hash, revisionOf(tags[0]!, tags));
  return [...all.values()]
    .sort((a, b) => b.revision - a.revision || b.timestampSeconds - a.timestampSeconds)
    .slice(0, Math.min(count, all.size));
}

/**
 * The snapshot with a revision: as a tag names it, as `trunk` did in a history that is still there, or else by going back from
 * catalog to catalog. Throws NOT_FOUND, and as `Repository.fetchManifest`, `loadHistory` and `resolve` do.
 */
export async function findRevision(repository: Repository, revision: number): Promise<Snapshot> {
  const listed = await listRevisions(repository);
  const known = listed.find((one) => one.revision === revision);
  const newer = listed.filter((one) => one.revision > revision).at(-1);
  const rootCatalog =
    known?.rootCatalog ?? (newer && (await findEarlierCatalog(repository, newer.rootCatalog, revision)));
  if (rootCatalog !== undefined) {
    return { ...(await repository.resolve({ rootHash: rootCatalog })), revision, tag: known?.tags[0] };
  }
  const oldest = listed.at(-1)?.revision;
  throw new ThimbleError('NOT_FOUND', `Cannot find revision ${revision} of ${repository.fqrn}`, {
    hint: `thimble log shows the revisions that are still there, ${oldest} to ${listed[0]?.revision}`,
  });
}

/** Each root catalog names the one that it was made from. */
async function findEarlierCatalog(
  repository: Repository,
  newest: ContentHash,
  revision: number,
): Promise<ContentHash | undefined> {
  const property = (reader: CatalogReader, key: string) => reader.properties.get(key as ByteString) ?? '';
  let above = Number.POSITIVE_INFINITY;
  for (let hash = newest; ; ) {
    const reader = await openIfThere(repository, hash);
    const here = Number(reader === undefined ? Number.NaN : property(reader, 'revision'));
    if (here === revision) return hash;
    // Revisions go down; where they do not, somebody leads in circles.
    if (reader === undefined || !(here > revision && here < above)) return undefined;
    above = here;
    const previous = property(reader, 'previous_revision');
    if (!isContentHash(previous) || previous === NULL_HASH) return undefined;
    hash = previous;
  }
}

async function openIfThere(repository: Repository, hash: ContentHash): Promise<CatalogReader | undefined> {
  try {
    return CatalogReader.open(await repository.objects.load(hash, 'C', MAX_CATALOG_BYTES, 'root catalog'));
  } catch (error) {
    // Garbage collection takes old ones.
    if (errorCodeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** A history and all before it, as far back as the repository still has them. */
async function* historiesFrom(repository: Repository, newest: History): AsyncGenerator<History> {
  let history: History | undefined = newest;
  while (history !== undefined) {
    yield history;
    history = await previousOf(repository, history);
  }
}

async function previousOf(repository: Repository, history: History): Promise<History | undefined> {
  const hash = history.previousRevision;
  if (hash === undefined || hash === NULL_HASH) return undefined;
  try {
    return await repository.loadHistory(hash);
  } catch (error) {
    // Garbage collection takes old ones.
    if (errorCodeOf(error) === 'NOT_FOUND') return undefined;
    throw error;
  }
}

function revisionOf({ revision, timestampSeconds, rootCatalog }: Tag, tags: readonly Tag[]): Revision {
  const named = tags.filter((tag) => !isMaintainedTag(tag));
  const messages = new Set(named.map((tag) => tag.description).filter((text) => text !== ''));
  return {
    revision,
    timestampSeconds,
    rootCatalog,
    tags: [...named, ...tags.filter(isMaintainedTag)].map((tag) => tag.name),
    message: [...messages].join('; '),
  };
}
