/**
 * The revisions of a repository, as far as it still tells: those that have a tag, and those that `trunk` named before,
 * which each history knows through the one before it.
 */

import { type ContentHash, NULL_HASH } from '../core/content-hash.ts';
import { errorCodeOf } from '../core/errors.ts';
import { type History, isMaintainedTag, type Tag, TRUNK } from '../core/history.ts';
import type { Repository } from './repository.ts';

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
