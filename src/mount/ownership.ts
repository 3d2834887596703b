/** The maps of users and groups that a mount is configured with. */

import { readFileSync } from 'node:fs';
import type { MountSettings } from '../config/client-settings.ts';
import { ThimbleError } from '../core/errors.ts';
import { type IdMap, type Ownership, parseIdMap } from '../fuse/ownership.ts';

/** `undefined` if files are shown as they were published. Throws NOT_FOUND, FORMAT. */
export function readOwnership(
  settings: Pick<MountSettings, 'claimOwnership' | 'uidMap' | 'gidMap' | 'worldReadable'>,
): Ownership | undefined {
  const { claimOwnership, uidMap, gidMap, worldReadable } = settings;
  if (!claimOwnership && uidMap === undefined && gidMap === undefined && !worldReadable) return undefined;
  return {
    everythingOf: claimOwnership ? { uid: process.getuid!(), gid: process.getgid!() } : undefined,
    uids: readIdMap(uidMap),
    gids: readIdMap(gidMap),
    isWorldReadable: worldReadable,
  };
}

function readIdMap(file: string | undefined): IdMap | undefined {
  if (file === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read map ${file}`, { cause: error });
  }
  return parseIdMap(text, file);
}
