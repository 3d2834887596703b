/**
 * A repository as a reader meets it: from an address and a key to a verified snapshot (docs/format.md#trust).
 */

import { MAX_CERTIFICATE_BYTES } from '../core/certificate.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import {
  decodeHistory,
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
import { parseWhitelist, WHITELIST_PATH } from '../core/whitelist.ts';
import { type Objects, readWhole } from './objects.ts';
import type { Servers } from './servers.ts';

/** Which snapshot: the newest unless something is given; a root hash needs no signature, it is the trust. */
export interface Selection {
  readonly tag?: string | undefined;
  readonly dateSeconds?: number | undefined;
  readonly rootHash?: ContentHash | undefined;
}

export interface Snapshot {
  readonly rootCatalog: ContentHash;
  readonly revision: number | undefined;
  readonly tag: string | undefined;
}

export interface RepositoryPorts extends TrustPorts {
  readonly clock: Clock;
}

export class Repository {
  readonly fqrn: string;
  readonly servers: Servers;
  readonly objects: Objects;
  readonly #masterKeys: readonly PublicKey[];
  readonly #ports: RepositoryPorts;

  constructor(
    fqrn: string,
    servers: Servers,
    objects: Objects,
    masterKeys: readonly PublicKey[],
    ports: RepositoryPorts,
  ) {
    this.fqrn = fqrn;
    this.servers = servers;
    this.objects = objects;
    this.#masterKeys = masterKeys;
    this.#ports = ports;
  }

  /** Finds a snapshot. Throws NOT_FOUND, TRUST, INTEGRITY, FORMAT, NETWORK. */
  async resolve(selection: Selection): Promise<Snapshot> {
    if (selection.rootHash !== undefined) {
      return {
        rootCatalog: selection.rootHash,
        revision: undefined,
        tag: undefined,
      };
    }
    const manifest = await this.fetchManifest();
    if (selection.tag !== undefined)
      return snapshotOfTag(findTag(await this.fetchHistory(manifest), selection.tag));
    if (selection.dateSeconds !== undefined) {
      return snapshotOfTag(findTagByDate(await this.fetchHistory(manifest), selection.dateSeconds));
    }
    return {
      rootCatalog: manifest.rootCatalog,
      revision: manifest.revision,
      tag: undefined,
    };
  }

  /** The newest manifest with its whole trust chain verified. A server with a bad one is passed over. */
  async fetchManifest(): Promise<Manifest> {
    if (this.#masterKeys.length === 0) {
      throw new ThimbleError('TRUST', `Cannot trust anything of ${this.fqrn}: there is no key for it`, {
        hint: 'give its public key with --key, or pin a snapshot with --root-hash',
      });
    }
    return this.servers.fetch(MANIFEST_PATH, async (file) => {
      const candidate = parseManifest(this.#ports.hashing, await readWhole(file, MAX_SIGNED_TEXT_BYTES));
      verifyManifestName(candidate, this.fqrn);
      await this.#verifyChain(candidate);
      return candidate.manifest;
    });
  }

  async #verifyChain(candidate: SignedManifest): Promise<void> {
    const { hashing, clock } = this.#ports;
    const { certificate } = candidate.manifest;
    if (certificate === undefined) {
      throw new ThimbleError('TRUST', `Cannot trust manifest of ${this.fqrn}: it names no certificate`);
    }
    // Neither request depends on the other: one round trip instead of two.
    const loading = this.objects.load(certificate, 'X', MAX_CERTIFICATE_BYTES, 'certificate');
    const [pem] = await Promise.all([
      loading,
      this.servers.fetch(WHITELIST_PATH, async (file) => {
        const whitelist = parseWhitelist(hashing, await readWhole(file, MAX_SIGNED_TEXT_BYTES));
        // Here, not behind: a server whose whitelist has expired or lags behind is passed over.
        verifyWhitelist(this.#ports, whitelist, this.fqrn, this.#masterKeys, clock.unixSeconds());
        verifyCertificate(this.#ports, whitelist, await loading);
      }),
    ]);
    verifyManifestSignature(this.#ports, candidate, pem);
  }

  /** The tags that a manifest names; none if it names no history. */
  async fetchHistory(manifest: Manifest): Promise<History> {
    if (manifest.history === undefined) return { fqrn: manifest.fqrn, previousRevision: undefined, tags: [] };
    return this.loadHistory(manifest.history);
  }

  /** The tags as they were. Throws NOT_FOUND, TRUST, INTEGRITY, FORMAT, NETWORK. */
  async loadHistory(hash: ContentHash): Promise<History> {
    const history = decodeHistory(await this.objects.load(hash, 'H', MAX_HISTORY_BYTES, 'history'));
    if (history.fqrn !== this.fqrn) {
      throw new ThimbleError(
        'TRUST',
        `Cannot use history: it is of ${JSON.stringify(history.fqrn)}, ${this.fqrn} expected`,
      );
    }
    return history;
  }
}

function snapshotOfTag(tag: Tag): Snapshot {
  return {
    rootCatalog: tag.rootCatalog,
    revision: tag.revision,
    tag: tag.name,
  };
}
