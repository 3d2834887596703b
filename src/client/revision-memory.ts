/**
 * The newest revision of a repository that this machine has seen and verified. Whoever shows an older one later, though well
 * signed, is not believed: it may be somebody who wants old faults back. Kept apart from the cache, which anybody may empty.
 */

import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';

export interface RememberedRevision {
  readonly revision: number;
  readonly rootCatalog: ContentHash;
}

export interface RevisionMemory {
  recall(): RememberedRevision | undefined;
  /** Keeps it, unless a newer one is known. A memory that cannot be written is no failure of the reader. */
  remember(seen: RememberedRevision): void;
}

/** For readers that come and go; and where older revisions are asked for. */
export const NO_MEMORY: RevisionMemory = { recall: () => undefined, remember: () => {} };

/** What keeps a reader from going back. */
export interface RevisionLimits {
  readonly memory: RevisionMemory;
  /** Older ones are refused even by a machine that has seen nothing yet. */
  readonly minimumRevision: number;
}

export const NO_LIMITS: RevisionLimits = { memory: NO_MEMORY, minimumRevision: 0 };

/** Throws TRUST for a manifest that is older than it may be. */
export function verifyNotOlder(
  { fqrn, revision }: Manifest,
  { memory, minimumRevision }: RevisionLimits,
): void {
  if (revision < minimumRevision) {
    throw new ThimbleError(
      'TRUST',
      `Cannot use revision ${revision} of ${fqrn}: it has to be ${minimumRevision} or newer`,
      { details: { revision, minimumRevision } },
    );
  }
  const seen = memory.recall()?.revision;
  if (seen === undefined || revision >= seen) return;
  throw new ThimbleError(
    'TRUST',
    `Cannot use revision ${revision} of ${fqrn}: revision ${seen} was seen before`,
    {
      hint: 'the server lags behind, or somebody gives out old states; --allow-older takes it all the same',
      details: { revision, seen },
    },
  );
}

/** Whether an error says that all there is is older than what was seen. */
export function saysOlder(error: unknown): boolean {
  return error instanceof ThimbleError && error.details['seen'] !== undefined;
}
