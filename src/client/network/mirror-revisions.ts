/** Which mirror has fallen behind: every server is asked for its manifest, and the revisions are compared. */

import { MANIFEST_PATH, parseManifest } from '../../core/manifest.ts';
import type { Hashing } from '../../core/ports.ts';
import { MAX_SIGNED_TEXT_BYTES } from '../../core/signed-text.ts';
import { readWhole } from '../objects.ts';
import type { Servers } from './servers.ts';

export interface MirrorRevision {
  /** As in `Servers.switchServer`. */
  readonly server: string;
  /** What the server says; nobody has checked a signature. None where it did not answer with a manifest. */
  readonly revision: number | undefined;
}

/** Asks in the background, each server once. Never throws. */
export async function mirrorRevisions(servers: Servers, hashing: Hashing): Promise<MirrorRevision[]> {
  const answers = await servers.fetchFromEach(MANIFEST_PATH, async (file) => {
    const bytes = await readWhole(file, MAX_SIGNED_TEXT_BYTES);
    return parseManifest(hashing, bytes).manifest.revision;
  });
  return answers.map((answer) => ({
    server: answer.server,
    revision: 'value' in answer ? answer.value : undefined,
  }));
}
