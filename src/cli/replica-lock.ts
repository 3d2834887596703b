import { join } from 'node:path';
import type { StorageLocation } from '../storage/storage.ts';
import { configurationFolder } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

/** What everybody takes who changes a replica: beside its files, or here where that is no folder. */
export function replicaLock(location: StorageLocation, fqrn: string, options: GlobalOptions): string {
  return location.kind === 'folder'
    ? join(location.path, '.thimble_replicate.lock')
    : join(configurationFolder(options), 'replicas', `${fqrn}.lock`);
}
