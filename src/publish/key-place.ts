import { join } from 'node:path';
import { takeLock } from '../storage/lock.ts';
import type { AskPassphrase } from './private-keys.ts';
import type { RepositorySettings } from './repository-settings.ts';

/** Where the keys of a repository are, and what opens them. */
export interface KeyPlace {
  readonly settings: RepositorySettings;
  /** Of the publisher alone. */
  readonly folder: string;
  readonly ask: AskPassphrase | undefined;
}

/** While nobody else changes keys or signs whitelists. Throws CONFLICT if somebody does. */
export function withKeyLock<T>(place: KeyPlace, action: () => Promise<T>): Promise<T> {
  return withLock(place, 'keys.lock', `the keys of ${place.settings.fqrn}`, action);
}

/** While nobody publishes; of both locks the second. Throws CONFLICT if somebody does. */
export function withPublishLock<T>(place: KeyPlace, action: () => Promise<T>): Promise<T> {
  return withLock(place, 'publish.lock', place.settings.fqrn, action);
}

async function withLock<T>(
  { folder }: KeyPlace,
  file: string,
  what: string,
  action: () => Promise<T>,
): Promise<T> {
  const release = takeLock(join(folder, file), what);
  try {
    return await action();
  } finally {
    release();
  }
}
