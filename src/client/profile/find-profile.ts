/** From a manifest to its profiles. */

import { ThimbleError } from '../../core/errors.ts';
import type { Manifest } from '../../core/manifest.ts';
import {
  decodeProfileIndex,
  MAX_PROFILE_INDEX_BYTES,
  NO_PROFILES,
  type Profile,
  type ProfileIndex,
} from '../../core/profile-index.ts';
import {
  decodeProfileTable,
  MAX_PROFILE_TABLE_BYTES,
  type PlacedObject,
  placeObjects,
} from '../../core/profile-table.ts';
import type { Objects } from '../objects.ts';

/** The profiles that a manifest names. Throws NOT_FOUND, INTEGRITY, FORMAT, LIMIT, UNSUPPORTED, NETWORK. */
export async function loadProfiles(
  objects: Objects,
  { profiles }: Pick<Manifest, 'profiles'>,
): Promise<ProfileIndex> {
  if (profiles === undefined) return NO_PROFILES;
  return decodeProfileIndex(await objects.load(profiles, '', MAX_PROFILE_INDEX_BYTES, 'index of profiles'));
}

/** Throws NOT_FOUND. */
export function findProfile({ profiles }: ProfileIndex, name: string): Profile {
  const profile = profiles.find((one) => one.name === name);
  if (profile !== undefined) return profile;
  throw new ThimbleError('NOT_FOUND', `There is no profile ${name}`, {
    hint:
      profiles.length === 0
        ? 'the repository has none; thimble profile publish makes one'
        : `there are ${profiles.map((one) => one.name).join(', ')}`,
  });
}

/** What the packs of a profile hold, in order. Throws as `loadProfiles` does. */
export async function loadPlaces(objects: Objects, profile: Profile): Promise<readonly PlacedObject[]> {
  const label = `table of profile ${profile.name}`;
  const table = await objects.load(profile.table, '', MAX_PROFILE_TABLE_BYTES, label);
  return placeObjects(decodeProfileTable(table), profile.packs);
}
