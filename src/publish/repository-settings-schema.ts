/** What may stand in the settings of a repository, and how they are written. */

import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { isFqrn } from '../core/fqrn.ts';
import { storageLocation } from '../storage/storage-location.ts';

/** Twice as fast as zlib's own default, 6, for 2.4 % more bytes (docs/performance.md). */
export const COMPRESSION_LEVEL = 4;

const chunkSizes = z
  .strictObject({
    minBytes: z.int().min(32),
    averageBytes: z.int(),
    maxBytes: z.int().max(64 * 1024 * 1024),
  })
  .refine((sizes) => sizes.minBytes < sizes.averageBytes && sizes.averageBytes < sizes.maxBytes, {
    error: 'minBytes < averageBytes < maxBytes has to hold',
  });

export const settingsSchema = z.strictObject({
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

export const formatSettings = (settings: object): string => stringify(settings);

export function reasons(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

/** Throws FORMAT; `path` is for its message. */
export function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new ThimbleError('FORMAT', `Cannot read ${path}: ${messageOf(error)}`);
  }
}
