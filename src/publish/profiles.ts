/**
 * Publishes and removes profiles. The tree stays as it is: objects are added, and the manifest is signed once more, with the
 * same revision and the same root catalog, and the name of the index of profiles.
 */

import { findProfile } from '../client/profile/find-profile.ts';
import type { Recording } from '../client/profile/recording.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import {
  decodeProfileIndex,
  encodeProfileIndex,
  isProfileName,
  MAX_PROFILE_INDEX_BYTES,
  NO_PROFILES,
  objectsOfProfiles,
  type Profile,
  type ProfileIndex,
  type RetiredObject,
} from '../core/profile-index.ts';
import { decodeProfileTable, encodeProfileTable, placeObjects } from '../core/profile-table.ts';
import { withHeadContext } from './head-context.ts';
import { withPublishLock } from './key-place.ts';
import { packObjects } from './profile-packs.ts';
import type { PublisherPorts, PublishTarget } from './publisher.ts';
import { changeProfiles, type HeadContext } from './repository-head.ts';

/** Garbage collections have had time enough to take what was needed before this. */
const RETIRED_SECONDS = 90 * 86_400;

export interface ProfilePublication {
  readonly profile: Profile;
  /** Recorded objects that are not in it: this repository does not have them, or they are too large. */
  readonly leftOut: number;
  readonly replaced: boolean;
}

/**
 * Makes a profile of a recording, in the place of one of the same name. Throws USAGE, CONFLICT while somebody else publishes,
 * TRUST, INTEGRITY, STORAGE.
 */
export async function publishProfile(
  target: PublishTarget,
  ports: PublisherPorts,
  { name, recording }: { readonly name: string; readonly recording: Recording },
  onProgress?: (packed: number) => void,
): Promise<ProfilePublication> {
  if (!isProfileName(name)) {
    throw new ThimbleError(
      'USAGE',
      `Cannot publish profile ${JSON.stringify(name)}: this is no name for one`,
      {
        hint: 'use letters, digits, dots, dashes and underscores',
      },
    );
  }
  if (recording.fqrn !== target.settings.fqrn) {
    throw new ThimbleError('USAGE', `Cannot publish profile ${name}: ${recording.fqrn} was recorded`, {
      hint: `record a mount of ${target.settings.fqrn}`,
    });
  }
  return withHead(target, ports, async (context) => {
    const nowSeconds = ports.clock.unixSeconds();
    let publication: ProfilePublication | undefined;
    await changeProfiles(context, async (manifest) => {
      const index = await readIndex(context, manifest);
      const { profile, leftOut } = await makeProfile(
        context,
        manifest,
        name,
        recording,
        nowSeconds,
        onProgress,
      );
      const replaced = index.profiles.some((one) => one.name === name);
      publication = { profile, leftOut, replaced };
      const others = index.profiles.filter((one) => one.name !== name);
      const profiles = [...others, profile].sort((a, b) => (a.name < b.name ? -1 : 1));
      return storeIndex(context, manifest, index, profiles, nowSeconds);
    });
    return publication!;
  });
}

/** Throws NOT_FOUND, and as `publishProfile` does. */
export async function removeProfiles(
  target: PublishTarget,
  ports: PublisherPorts,
  names: readonly string[],
): Promise<readonly Profile[]> {
  return withHead(target, ports, async (context) => {
    let removed: readonly Profile[] = [];
    await changeProfiles(context, async (manifest) => {
      const index = await readIndex(context, manifest);
      removed = [...new Set(names)].map((name) => findProfile(index, name));
      const kept = index.profiles.filter(({ name }) => !names.includes(name));
      return storeIndex(context, manifest, index, kept, ports.clock.unixSeconds());
    });
    return removed;
  });
}

async function withHead<T>(
  target: PublishTarget,
  ports: PublisherPorts,
  action: (context: HeadContext) => Promise<T>,
): Promise<T> {
  const { settings, folder } = target;
  return withPublishLock({ settings, folder, ask: undefined }, () => withHeadContext(target, ports, action));
}

async function makeProfile(
  context: HeadContext,
  { rootCatalog, revision }: Manifest,
  name: string,
  recording: Recording,
  createdSeconds: number,
  onProgress: ((packed: number) => void) | undefined,
): Promise<{ readonly profile: Profile; readonly leftOut: number }> {
  const recorded = recording.rootCatalog ?? rootCatalog;
  const roots = [...new Set([recorded, rootCatalog])];
  const { objects, packs, leftOut } = await packObjects(recording.objects, roots, context, onProgress);
  if (objects.length === 0) {
    throw new ThimbleError(
      'NOT_FOUND',
      `Cannot publish profile ${name}: nothing of the recording is stored here`,
    );
  }
  const bytes = encodeProfileTable(objects);
  // What is published has been read once by the code that will read it.
  placeObjects(decodeProfileTable(bytes), packs);
  const sum = (size: (one: (typeof objects)[number]) => number) =>
    objects.reduce((total, one) => total + size(one), 0);
  const profile = {
    name,
    rootCatalog: recorded,
    revision,
    createdSeconds,
    objects: objects.length,
    storedBytes: sum((one) => one.storedBytes),
    sizeBytes: sum((one) => one.sizeBytes),
    table: await context.metadata.putMetadata('', bytes),
    packs,
  };
  return { profile, leftOut };
}

async function readIndex({ objects }: HeadContext, { profiles }: Manifest): Promise<ProfileIndex> {
  if (profiles === undefined) return NO_PROFILES;
  return decodeProfileIndex(await objects.load(profiles, '', MAX_PROFILE_INDEX_BYTES));
}

/** What nothing leads to any more is remembered for garbage collections. */
async function storeIndex(
  { metadata }: HeadContext,
  manifest: Manifest,
  former: ProfileIndex,
  profiles: readonly Profile[],
  nowSeconds: number,
) {
  const needed = new Set(objectsOfProfiles({ profiles, retired: [] }));
  const gone = [
    ...objectsOfProfiles(former),
    ...(manifest.profiles === undefined ? [] : [manifest.profiles]),
  ];
  const retired = new Map<string, RetiredObject>();
  for (const one of former.retired) {
    if (one.sinceSeconds > nowSeconds - RETIRED_SECONDS && !needed.has(one.hash)) retired.set(one.hash, one);
  }
  for (const hash of gone) if (!needed.has(hash)) retired.set(hash, { hash, sinceSeconds: nowSeconds });
  const index = encodeProfileIndex({ profiles, retired: [...retired.values()] });
  decodeProfileIndex(index);
  return metadata.putMetadata('', index);
}
