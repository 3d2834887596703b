/** What the publisher knows about its repositories: one folder each, with settings and keys. */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn, parseFqrn } from '../core/fqrn.ts';
import { storageLocation } from '../storage/open-storage.ts';

/** Twice as fast as zlib's own default, 6, for 2.4 % more bytes (docs/performance.md). */
const COMPRESSION_LEVEL = 4;

const chunkSizes = z
  .strictObject({
    minBytes: z.int().min(32),
    averageBytes: z.int(),
    maxBytes: z.int().max(64 * 1024 * 1024),
  })
  .refine((sizes) => sizes.minBytes < sizes.averageBytes && sizes.averageBytes < sizes.maxBytes, {
    error: 'minBytes < averageBytes < maxBytes has to hold',
  });

const settingsSchema = z.strictObject({
  fqrn: z.string().refine(isFqrn, { error: 'not a repository name' }),
  /** A folder that a web server publishes, or `s3://bucket/prefix?...`. */
  storage: z.string().superRefine((text, context) => {
    try {
      storageLocation(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: messageOf(error) });
    }
  }),
  hashAlgorithm: z.enum(['sha1', 'rmd160', 'shake128']),
  compression: z.enum(['zlib', 'none']),
  compressionLevel: z.int().min(1).max(9).default(COMPRESSION_LEVEL),
  chunkSizes,
  ttlSeconds: z.int().min(0),
  /** Whitelists are signed for this long. */
  whitelistDays: z.int().min(1).max(36_500),
  /** Each publish without a tag gets one that says when it was; those older than this are removed. */
  automaticTags: z.strictObject({ keepDays: z.number().min(0) }).optional(),
  /** Tagged snapshots are shown in `/.cvmfs/snapshots`. */
  virtualDirectory: z.boolean().default(false),
  catalogs: z.strictObject({ maxEntries: z.int().min(10), minEntries: z.int().min(1) }),
});

export type RepositorySettings = z.infer<typeof settingsSchema> & { readonly fqrn: Fqrn };

const MIB = 1024 * 1024;

export function defaultSettings(fqrn: Fqrn, storage: string): RepositorySettings {
  return {
    fqrn,
    storage,
    hashAlgorithm: 'shake128',
    compression: 'zlib',
    compressionLevel: COMPRESSION_LEVEL,
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
    const result = settingsSchema.safeParse(settings);
    if (!result.success) {
      throw new ThimbleError('USAGE', `Cannot create repository ${settings.fqrn}: ${reasons(result.error)}`);
    }
    const folder = this.folderOf(settings.fqrn);
    const path = join(folder, SETTINGS_FILE);
    try {
      const isNew = mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined;
      writeFileSync(path, stringify(settings), { flag: 'wx' });
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
    const result = settingsSchema.safeParse(parseYaml(text, path));
    if (!result.success) {
      throw new ThimbleError('FORMAT', `Cannot use ${path}: ${reasons(result.error)}`);
    }
    return { ...result.data, fqrn: parseFqrn(result.data.fqrn) };
  }
}

function reasons(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new ThimbleError('FORMAT', `Cannot read ${path}: ${messageOf(error)}`);
  }
}
