/**
 * What a repository publishes now, and how that is replaced: history, then everything to the disk, then the reference log,
 * and last the manifest, in one rename. Whatever happens before that rename, readers have the old revision, whole.
 */

import { equalBytes } from '../core/bytes/byte-string.ts';
import { MAX_CERTIFICATE_BYTES } from '../core/certificate.ts';
import { algorithmOf, type ContentHash, hashBytes } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { decodeHistory, emptyHistory, type History, MAX_HISTORY_BYTES } from '../core/history.ts';
import {
  formatManifest,
  MANIFEST_PATH,
  type Manifest,
  parseManifest,
  type SignedManifest,
} from '../core/manifest.ts';
import type { Hashing, Signatures } from '../core/ports.ts';
import { REFLOG_PATH, type ReferenceType } from '../core/reflog.ts';
import { formatSignedText } from '../core/signed-text.ts';
import { encodeReflog } from '../storage/reflog-writer.ts';
import type { StoredObjects } from '../storage/stored-objects.ts';
import type { ContentStore } from './content-store.ts';
import { encodeHistory } from './history-writer.ts';
import {
  type RepositoryKeys,
  signManifest,
  verifyOwnCertificate,
  verifyOwnManifest,
  withEd25519,
} from './keys.ts';
import type { RepositorySettings } from './repository-settings.ts';

export interface Head {
  readonly manifest: Manifest;
  readonly history: History;
}

export interface HeadContext {
  readonly settings: RepositorySettings;
  readonly keys: RepositoryKeys;
  readonly objects: StoredObjects;
  readonly metadata: ContentStore;
  readonly hashing: Hashing;
  readonly signatures: Signatures;
  /** A path for temporary files. */
  readonly scratch: string;
}

/** Throws NOT_FOUND, TRUST, INTEGRITY, FORMAT, STORAGE. */
export async function readHead(context: HeadContext): Promise<Head> {
  const { manifest } = await readSigned(context, verifyOwnManifest);
  if (manifest.history === undefined) return { manifest, history: emptyHistory(manifest.fqrn) };
  const history = decodeHistory(await context.objects.load(manifest.history, 'H', MAX_HISTORY_BYTES));
  return { manifest, history };
}

/**
 * Signs what is published once more, with the keys of today. Of the manifest only the signature is asked for that every one
 * has: others may be what is missing. Throws as `readHead` does.
 */
export async function resignHead(context: HeadContext): Promise<Manifest> {
  const { manifest } = await readSigned(context, verifyOwnCertificate);
  await sign(context, {
    ...manifest,
    certificate: await storeCertificate(context, manifest),
  });
  return manifest;
}

/** Signs what is published once more, with another index of profiles. Throws as `readHead` and `change` do. */
export async function changeProfiles(
  context: HeadContext,
  change: (manifest: Manifest) => Promise<ContentHash>,
): Promise<void> {
  const { manifest } = await readSigned(context, verifyOwnManifest);
  const profiles = await change(manifest);
  await sign(context, {
    ...manifest,
    certificate: await storeCertificate(context, manifest),
    profiles,
  });
}

async function readSigned(context: HeadContext, verify: typeof verifyOwnManifest): Promise<SignedManifest> {
  const { storage } = context.objects;
  const bytes = await storage.read(MANIFEST_PATH);
  if (bytes === undefined) {
    throw new ThimbleError('NOT_FOUND', `Cannot publish: there is no repository in ${storage.name}`, {
      hint: 'the settings name this place as its storage; was it moved?',
    });
  }
  const signed = parseManifest(context.hashing, bytes);
  verifyOwn(context, signed, verify);
  return signed;
}

/**
 * Publishes a manifest with the tags of `history`, which follows the one that it names. `passed` are revisions between the one
 * that is published now and this one. Throws STORAGE.
 */
export async function replaceHead(
  context: HeadContext,
  { manifest, history: { tags, branches } }: Head,
  passed: readonly ContentHash[] = [],
): Promise<void> {
  const { settings, metadata, scratch } = context;
  const history = encodeHistory(
    { fqrn: settings.fqrn, previousRevision: manifest.history, tags, branches },
    scratch,
  );
  await sign(
    context,
    {
      ...manifest,
      ttlSeconds: settings.ttlSeconds,
      certificate: await storeCertificate(context, manifest),
      history: await metadata.putMetadata('H', history),
    },
    passed,
  );
}

/** The one that is published already, if it is the same. */
async function storeCertificate(
  { objects, metadata, keys }: HeadContext,
  manifest: Manifest,
): Promise<ContentHash> {
  const { certificate } = manifest;
  if (certificate !== undefined) {
    const published = await objects.find(certificate, 'X', MAX_CERTIFICATE_BYTES);
    if (published !== undefined && equalBytes(published, keys.certificate)) return certificate;
  }
  return metadata.putAsReference('X', keys.certificate);
}

async function sign(
  context: HeadContext,
  manifest: Manifest,
  passed: readonly ContentHash[] = [],
): Promise<void> {
  const { settings, keys, hashing, scratch } = context;
  const { storage } = context.objects;
  const reflog = encodeReflog(
    settings.fqrn,
    await storage.read(REFLOG_PATH),
    {
      added: [...passed.map((hash) => ({ hash, type: 'catalog' as const })), ...referencesOf(manifest)],
      timestampSeconds: manifest.publishedSeconds ?? 0,
    },
    scratch,
  );
  const signed = await formatSignedText(
    hashing,
    algorithmOf(manifest.rootCatalog),
    withEd25519(
      keys,
      formatManifest({ ...manifest, reflog: hashBytes(hashing, settings.hashAlgorithm, reflog) }),
    ),
    (text) => signManifest(keys, text),
  );
  // What is published has been read once by the code that will read it.
  verifyOwn(context, parseManifest(hashing, signed), verifyOwnManifest);
  await storage.flush();
  await storage.replace(REFLOG_PATH, reflog);
  await storage.replace(MANIFEST_PATH, signed);
}

function referencesOf(manifest: Manifest): { hash: ContentHash; type: ReferenceType }[] {
  const { rootCatalog, certificate, history, metainfo } = manifest;
  const all = { catalog: rootCatalog, certificate, history, metainfo };
  return Object.entries(all).flatMap(([type, hash]) =>
    hash === undefined ? [] : [{ hash, type: type as ReferenceType }],
  );
}

function verifyOwn(
  { settings, keys, objects, hashing, signatures }: HeadContext,
  signed: SignedManifest,
  verify: typeof verifyOwnManifest,
): void {
  if (signed.manifest.fqrn !== settings.fqrn) {
    throw new ThimbleError(
      'TRUST',
      `Cannot publish: the storage ${objects.storage.name} is of ${signed.manifest.fqrn}`,
    );
  }
  verify({ hashing, signatures }, signed, keys);
}
