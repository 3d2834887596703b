/**
 * A repository as a reader meets it: from an address and a key to a verified snapshot (docs/format.md#trust).
 */

import {
  type Blacklist,
  EMPTY_BLACKLIST,
  verifyCertificateNotListed,
  verifyRevisionNotListed,
} from '../core/blacklist.ts';
import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import { parseUnsigned } from '../core/bytes/integer.ts';
import { CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import { MAX_CERTIFICATE_BYTES } from '../core/certificate.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { verifyEd25519Signature } from '../core/ed25519-signature.ts';
import { errorCodeOf, ThimbleError } from '../core/errors.ts';
import {
  decodeHistory,
  emptyHistory,
  findTag,
  findTagByDate,
  type History,
  MAX_HISTORY_BYTES,
  type Tag,
} from '../core/history.ts';
import { MANIFEST_PATH, type Manifest, parseManifest, type SignedManifest } from '../core/manifest.ts';
import type { Clock, PublicKey } from '../core/ports.ts';
import { MAX_SIGNED_TEXT_BYTES } from '../core/signed-text.ts';
import {
  type TrustPorts,
  verifyCertificate,
  verifyManifestName,
  verifyManifestSignature,
  verifyWhitelist,
} from '../core/trust.ts';
import { parseWhitelist, WHITELIST_PATH, type Whitelist } from '../core/whitelist.ts';
import type { Servers } from './network/servers.ts';
import type { FetchOptions } from './network/servers-options.ts';
import type { SourceFile } from './network/source.ts';
import { type Objects, readWhole } from './objects.ts';
import { NO_LIMITS, type RevisionLimits, saysOlder, verifyNotOlder } from './revision-memory.ts';

/** Which snapshot: the newest unless something is given; a root hash needs no signature, it is the trust. */
export interface Selection {
  readonly tag?: string | undefined;
  readonly dateSeconds?: number | undefined;
  readonly rootHash?: ContentHash | undefined;
}

export interface Snapshot {
  readonly rootCatalog: ContentHash;
  /** As it was said to be; 0 or nothing where nobody said so. */
  readonly rootCatalogSizeBytes?: number;
  readonly revision: number | undefined;
  readonly tag: string | undefined;
  /** Nobody could be asked for the newest one: this was the newest when somebody could. */
  readonly isRemembered?: boolean;
}

/** What a server has, by its address. */
export interface ServerRevision {
  readonly server: string;
  readonly revision: number;
}

/** A manifest whose trust chain is good, and the signed files as they were received. */
export interface VerifiedManifest {
  readonly manifest: Manifest;
  /** `.cvmfspublished`. */
  readonly bytes: Bytes;
  /** `.cvmfswhitelist`. */
  readonly whitelist: Bytes;
}

export interface RepositoryPorts extends TrustPorts {
  readonly clock: Clock;
}

export class Repository {
  readonly fqrn: string;
  readonly servers: Servers;
  readonly objects: Objects;
  readonly #masterKeys: readonly PublicKey[];
  readonly #ed25519Keys: readonly PublicKey[];
  readonly #ports: RepositoryPorts;
  readonly #blacklist: Blacklist;
  readonly #limits: RevisionLimits;
  #whitelist: Whitelist | undefined;
  #manifest: Manifest | undefined;

  /** Of the keys, any of RSA has to have signed the whitelist; and if there are any of Ed25519, one of them the manifest. */
  constructor(
    fqrn: string,
    servers: Servers,
    objects: Objects,
    keys: readonly PublicKey[],
    ports: RepositoryPorts,
    blacklist: Blacklist = EMPTY_BLACKLIST,
    limits: RevisionLimits = NO_LIMITS,
  ) {
    this.fqrn = fqrn;
    this.servers = servers;
    this.objects = objects;
    this.#masterKeys = keys.filter(({ kind }) => kind === 'rsa-public-key');
    this.#ed25519Keys = keys.filter(({ kind }) => kind === 'ed25519-public-key');
    this.#ports = ports;
    this.#blacklist = blacklist;
    this.#limits = limits;
  }

  /** The whitelist that the newest manifest was trusted by; none before `fetchManifest`. */
  get whitelist(): Whitelist | undefined {
    return this.#whitelist;
  }

  /** The manifest that was verified last; none before `fetchManifest`. */
  get manifest(): Manifest | undefined {
    return this.#manifest;
  }

  /**
   * Finds a snapshot. Where nobody can be asked for the newest one, or all lag behind, it is the newest that was seen before, as long
   * as its root catalog is at hand. Throws NOT_FOUND, TRUST, INTEGRITY, FORMAT, NETWORK.
   */
  async resolve(selection: Selection): Promise<Snapshot> {
    if (selection.rootHash !== undefined) {
      return {
        rootCatalog: selection.rootHash,
        revision: await this.#revisionOf(selection.rootHash),
        tag: undefined,
      };
    }
    const untilMs = this.servers.untilMs();
    const isNewest = selection.tag === undefined && selection.dateSeconds === undefined;
    const manifest = await this.fetchManifest({ untilMs }).catch((error: unknown) => {
      const remembered = isNewest ? this.#remembered(error) : undefined;
      if (remembered === undefined) throw error;
      return remembered;
    });
    if ('isRemembered' in manifest) return manifest;
    if (selection.tag !== undefined)
      return this.#snapshotOf(findTag(await this.fetchHistory(manifest, untilMs), selection.tag));
    if (selection.dateSeconds !== undefined) {
      const history = await this.fetchHistory(manifest, untilMs);
      return this.#snapshotOf(findTagByDate(history, selection.dateSeconds));
    }
    return {
      rootCatalog: manifest.rootCatalog,
      rootCatalogSizeBytes: manifest.rootCatalogSizeBytes,
      revision: manifest.revision,
      tag: undefined,
    };
  }

  #remembered(error: unknown): (Snapshot & { readonly isRemembered: true }) | undefined {
    if (errorCodeOf(error) !== 'NETWORK' && !saysOlder(error)) return undefined;
    const seen = this.#limits.memory.recall();
    if (seen === undefined || !this.objects.has(seen.rootCatalog)) return undefined;
    verifyRevisionNotListed(this.#blacklist, this.fqrn, seen.revision);
    return { ...seen, tag: undefined, isRemembered: true };
  }

  /** Looks into a pinned catalog only where a blacklist asks for its revision: nothing else has to be fetched for a pin. */
  async #revisionOf(rootCatalog: ContentHash): Promise<number | undefined> {
    if (!this.#blacklist.firstRevisions.has(this.fqrn)) return undefined;
    const bytes = await this.objects.load(rootCatalog, 'C', MAX_CATALOG_BYTES, 'root catalog');
    const text = CatalogReader.open(bytes).properties.get('revision' as ByteString);
    const revision = parseUnsigned(text ?? '', 'revision of the root catalog');
    verifyRevisionNotListed(this.#blacklist, this.fqrn, revision);
    return revision;
  }

  #snapshotOf({ rootCatalog, rootCatalogSizeBytes, revision, name }: Tag): Snapshot {
    verifyRevisionNotListed(this.#blacklist, this.fqrn, revision);
    return { rootCatalog, rootCatalogSizeBytes, revision, tag: name };
  }

  /** The newest manifest with its whole trust chain verified. A server with a bad one is passed over. */
  async fetchManifest(options: Pick<FetchOptions, 'noCache' | 'untilMs'> = {}): Promise<Manifest> {
    return (await this.fetchVerifiedManifest(options)).manifest;
  }

  /** The same, with what others need to verify it again. */
  async fetchVerifiedManifest(
    options: Pick<FetchOptions, 'noCache' | 'untilMs'> = {},
  ): Promise<VerifiedManifest> {
    this.#needKeys();
    return this.servers.fetch(MANIFEST_PATH, this.#verifyManifest, undefined, options);
  }

  /** What every server shows now, verified; those that show nothing good are left out. Throws TRUST without a key. */
  async compareServers(): Promise<ServerRevision[]> {
    this.#needKeys();
    const answers = await this.servers.fetchFromEach(MANIFEST_PATH, this.#verifyManifest);
    return answers.flatMap((answer) =>
      'error' in answer ? [] : [{ server: answer.server, revision: answer.value.manifest.revision }],
    );
  }

  #needKeys(): void {
    if (this.#masterKeys.length === 0) {
      throw new ThimbleError('TRUST', `Cannot trust anything of ${this.fqrn}: there is no key for it`, {
        hint:
          this.#ed25519Keys.length === 0
            ? 'give its public key with --key, or pin a snapshot with --root-hash'
            : 'give its RSA key with --key too: the one of Ed25519 signs manifests, and no whitelists',
      });
    }
  }

  readonly #verifyManifest = async (file: SourceFile, untilMs: number): Promise<VerifiedManifest> => {
    const bytes = await readWhole(file, MAX_SIGNED_TEXT_BYTES);
    const candidate = parseManifest(this.#ports.hashing, bytes);
    verifyManifestName(candidate, this.fqrn);
    // Another server may have a newer one.
    verifyRevisionNotListed(this.#blacklist, this.fqrn, candidate.manifest.revision);
    verifyNotOlder(candidate.manifest, this.#limits);
    const whitelist = await this.#verifyChain(candidate, untilMs);
    this.#limits.memory.remember(candidate.manifest);
    return { manifest: candidate.manifest, bytes, whitelist };
  };

  /** Answers with the whitelist that says so. */
  async #verifyChain(candidate: SignedManifest, untilMs: number): Promise<Bytes> {
    const { hashing, signatures, clock } = this.#ports;
    const { certificate } = candidate.manifest;
    if (certificate === undefined) {
      throw new ThimbleError('TRUST', `Cannot trust manifest of ${this.fqrn}: it names no certificate`);
    }
    // Neither request depends on the other: one round trip instead of two.
    const loading = this.objects.load(certificate, 'X', MAX_CERTIFICATE_BYTES, 'certificate', {
      untilMs,
    });
    const verify = async (file: SourceFile) => {
      const received = await readWhole(file, MAX_SIGNED_TEXT_BYTES);
      const signedWhitelist = parseWhitelist(hashing, received);
      // Here, not behind: a server whose whitelist has expired or lags behind is passed over.
      verifyWhitelist(this.#ports, signedWhitelist, this.fqrn, this.#masterKeys, clock.unixSeconds());
      verifyCertificate(this.#ports, signedWhitelist, await loading);
      return { whitelist: signedWhitelist.whitelist, received };
    };
    const [pem, { whitelist, received }] = await Promise.all([
      loading,
      this.servers.fetch(WHITELIST_PATH, verify, undefined, { untilMs }),
    ]);
    verifyCertificateNotListed(hashing, this.#blacklist, this.fqrn, pem);
    verifyManifestSignature(this.#ports, candidate, pem);
    if (this.#ed25519Keys.length > 0) verifyEd25519Signature(signatures, candidate, this.#ed25519Keys);
    this.#whitelist = whitelist;
    this.#manifest = candidate.manifest;
    return received;
  }

  /** The tags that a manifest names; none if it names no history. */
  async fetchHistory(manifest: Manifest, untilMs?: number): Promise<History> {
    if (manifest.history === undefined) return emptyHistory(manifest.fqrn);
    return this.loadHistory(manifest.history, untilMs);
  }

  /** The tags as they were. Throws NOT_FOUND, TRUST, INTEGRITY, FORMAT, NETWORK. */
  async loadHistory(hash: ContentHash, untilMs?: number): Promise<History> {
    const loading = this.objects.load(hash, 'H', MAX_HISTORY_BYTES, 'history', { untilMs });
    const history = decodeHistory(await loading);
    if (history.fqrn !== this.fqrn) {
      throw new ThimbleError(
        'TRUST',
        `Cannot use history: it is of ${JSON.stringify(history.fqrn)}, ${this.fqrn} expected`,
      );
    }
    return history;
  }
}
