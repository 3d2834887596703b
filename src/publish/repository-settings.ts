/** What the publisher knows about its repositories: one folder each, with settings and keys. */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { z } from 'zod';
import { ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn, parseFqrn } from '../core/fqrn.ts';

type Schema = typeof import('./repository-settings-schema.ts');

/** Loaded when settings are read or written: that takes longer than a mount by address does otherwise, which asks for names alone. */
const schema = (): Schema => createRequire(import.meta.url)('./repository-settings-schema.ts') as Schema;

export type RepositorySettings = z.infer<Schema['settingsSchema']> & { readonly fqrn: Fqrn };

const MIB = 1024 * 1024;

export function defaultSettings(fqrn: Fqrn, storage: string): RepositorySettings {
  return {
    fqrn,
    storage,
    hashAlgorithm: 'shake128',
    compression: 'zlib',
    compressionLevel: schema().COMPRESSION_LEVEL,
    chunkSizes: { minBytes: 4 * MIB, averageBytes: 8 * MIB, maxBytes: 16 * MIB },
    ttlSeconds: 240,
    whitelistDays: 30,
    virtualDirectory: false,
    catalogs: { maxEntries: 100_000, minEntries: 1_000 },
  };
}

const SETTINGS_FILE = 'repository.yaml';

/** A folder per repository below one configuration folder. */
export class RepositoryRegistry {
  readonly #folder: string;

  constructor(configurationFolder: string) {
    this.#folder = join(configurationFolder, 'repositories');
  }

  /** Settings, keys, and what else belongs to the publisher alone. */
  folderOf(fqrn: Fqrn): string {
    return join(this.#folder, fqrn);
  }

  /** Returns a function that takes it back. Throws USAGE for bad settings, CONFLICT if the repository is known already. */
  add(settings: RepositorySettings): () => void {
    const { formatSettings, reasons, settingsSchema } = schema();
    const result = settingsSchema.safeParse(settings);
    if (!result.success) {
      throw new ThimbleError('USAGE', `Cannot create repository ${settings.fqrn}: ${reasons(result.error)}`);
    }
    const folder = this.folderOf(settings.fqrn);
    const path = join(folder, SETTINGS_FILE);
    try {
      const isNew = mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined;
      writeFileSync(path, formatSettings(settings), { flag: 'wx' });
      // Keys that were there before are not ours to remove.
      return () => rmSync(isNew ? folder : path, { recursive: true, force: true });
    } catch (error) {
      const exists = (error as NodeJS.ErrnoException).code === 'EEXIST';
      throw new ThimbleError(
        exists ? 'CONFLICT' : 'STORAGE',
        `Cannot create repository ${settings.fqrn} in ${folder}`,
        {
          hint: exists ? 'a repository of this name is there already' : undefined,
          cause: error,
        },
      );
    }
  }

  has(fqrn: Fqrn): boolean {
    return this.list().includes(fqrn);
  }

  list(): Fqrn[] {
    try {
      return readdirSync(this.#folder).filter(isFqrn).map(parseFqrn).sort();
    } catch {
      // No folder means no repositories.
      return [];
    }
  }

  /** Throws NOT_FOUND, FORMAT. */
  load(fqrn: Fqrn): RepositorySettings {
    const path = join(this.folderOf(fqrn), SETTINGS_FILE);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      const known = this.list();
      throw new ThimbleError('NOT_FOUND', `Cannot find repository ${fqrn}: there is no ${path}`, {
        hint:
          known.length === 0
            ? `create it with: thimble repo create ${fqrn} --storage DIR`
            : `the repositories here are ${known.join(', ')}`,
        cause: error,
      });
    }
    const { parseYaml, reasons, settingsSchema } = schema();
    const result = settingsSchema.safeParse(parseYaml(text, path));
    if (!result.success) {
      throw new ThimbleError('FORMAT', `Cannot use ${path}: ${reasons(result.error)}`);
    }
    return { ...result.data, fqrn: parseFqrn(result.data.fqrn) };
  }
}
