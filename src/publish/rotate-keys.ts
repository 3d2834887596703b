/**
 * New keys for old ones, in steps that never leave a client without a manifest it accepts, whichever copies of manifest and
 * whitelist its caches hold (docs/manual/keys.md). A step can be cut off anywhere and begun again: what has been done is
 * told by the files that are there.
 *
 *                begin                          use                                finish
 *   repository   NAME.next.key, .next.crt       they replace .key and .crt;        .crt.old goes
 *                                               the certificate becomes .crt.old
 *   master       NAME.next.masterkey, .next.pub they replace .masterkey and .pub;  .masterkey.old, .pub.old go
 *                                               which become .masterkey.old, .pub.old
 *   ed25519      NAME.next.ed25519 and .next.ed25519pub                             they replace .ed25519, .ed25519pub
 */

import { createPublicKey } from 'node:crypto';
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import { MANIFEST_PATH, parseManifest } from '../core/manifest.ts';
import { openStorage } from '../storage/open-storage.ts';
import { storageLocation } from '../storage/storage-location.ts';
import { type KeyPaths, keyPaths, oldPath } from './key-paths.ts';
import { type KeyPlace, withKeyLock, withPublishLock } from './key-place.ts';
import {
  encodePublicKey,
  generateEd25519,
  generateRsa,
  openMasterKey,
  readKeyFile,
  verifyOwnCertificate,
} from './keys.ts';
import {
  encodePrivateKey,
  KeyOpener,
  type PrivateKeyType,
  syncFolder,
  writeKeyFile,
} from './private-keys.ts';
import type { PublisherPorts } from './publisher.ts';
import { resignManifest } from './resign-manifest.ts';
import { selfSignedCertificate } from './self-signed-certificate.ts';
import {
  isListed,
  isPublicHalf,
  readWhitelist,
  resignWhitelist,
  stamp,
  writeWhitelist,
} from './whitelist-writer.ts';

export type RotatedKey = 'repository' | 'master' | 'ed25519';
export type RotationStep = 'begin' | 'use' | 'finish';

/** Longer than caches keep manifest and whitelist; replicas that copy less often need more. */
export const OVERLAP_SECONDS = 3600;

export interface RotationOptions {
  /** Where the master key is that signs, if not beside the others. */
  readonly masterKeyFile?: string | undefined;
  /** Goes on although caches may still hold what was published before the last step. */
  readonly withoutWaiting?: boolean | undefined;
  /** Of a new key that takes the place of none. */
  readonly passphrase?: Uint8Array | undefined;
  /** Told of everything that is done. */
  readonly onDone?: ((what: string) => void) | undefined;
}

/** Throws CONFLICT for a step that is not the next one, or comes too early, and what reading and signing throw. */
export async function rotateKey(
  place: KeyPlace,
  key: RotatedKey,
  step: RotationStep,
  ports: PublisherPorts,
  options: RotationOptions = {},
): Promise<void> {
  const rotation = new Rotation(place, ports, options);
  const steps: Readonly<Record<RotatedKey, Readonly<Record<RotationStep, () => Promise<void>>>>> = {
    repository: {
      begin: () => rotation.beginRepository(),
      use: () => withPublishLock(place, () => rotation.useRepository()),
      finish: () => withPublishLock(place, () => rotation.finishRepository()),
    },
    master: {
      begin: () => rotation.beginMaster(),
      use: () => rotation.useMaster(),
      finish: () => rotation.finishMaster(),
    },
    ed25519: {
      begin: () => withPublishLock(place, () => rotation.beginEd25519()),
      use: () => rotation.useEd25519(),
      finish: () => withPublishLock(place, () => rotation.finishEd25519()),
    },
  };
  await withKeyLock(place, () => steps[key][step]());
}

class Rotation {
  readonly #place: KeyPlace;
  readonly #ports: PublisherPorts;
  readonly #options: RotationOptions;
  readonly #opener: KeyOpener;
  readonly #current: KeyPaths;
  readonly #next: KeyPaths;

  constructor(place: KeyPlace, ports: PublisherPorts, options: RotationOptions) {
    this.#place = place;
    this.#ports = ports;
    this.#options = options;
    this.#opener = new KeyOpener(place.ask);
    this.#current = keyPaths(place.folder, place.settings.fqrn);
    this.#next = keyPaths(place.folder, place.settings.fqrn, 'next');
  }

  // ---- repository key: the whitelist has both certificates before the new key signs, and until the old manifest is gone ----

  async beginRepository(): Promise<void> {
    const { fqrn } = this.#place.settings;
    this.#refuseIf(
      existsSync(oldPath(this.#current.certificate)),
      'the last one is not finished',
      this.#command('repository --finish'),
    );
    // The certificate is written last: where it is, there is a whole pair.
    if (!existsSync(this.#next.certificate)) {
      const passphrase = this.#passphraseLike(this.#current.repositoryKey, 'rsa');
      const pair = await generateRsa();
      const certificate = await selfSignedCertificate(pair, fqrn, this.#ports.clock.unixSeconds());
      writeKeyFile(this.#next.repositoryKey, encodePrivateKey(pair.privateKey, passphrase), 0o600, REPLACE);
      this.#done(`wrote ${this.#next.repositoryKey}`);
      writeKeyFile(this.#next.certificate, certificate, 0o644, REPLACE);
      this.#done(`wrote ${this.#next.certificate}`);
    }
    await resignWhitelist(this.#place, { masterKeyFile: this.#options.masterKeyFile }, this.#ports);
    this.#done('published a whitelist with the old and the new certificate');
  }

  async useRepository(): Promise<void> {
    const old = oldPath(this.#current.certificate);
    if (existsSync(this.#next.repositoryKey)) {
      const next = readKeyFile(this.#next.certificate);
      if (!isListed(this.#ports, await readWhitelist(this.#place.settings, this.#ports), next)) {
        throw new ThimbleError(
          'CONFLICT',
          'Cannot use the new repository key: the whitelist does not have it',
          {
            hint: `thimble repo resign ${this.#place.settings.fqrn}`,
          },
        );
      }
      this.#waitFor(this.#next.certificate);
      writeKeyFile(old, readKeyFile(this.#current.certificate), 0o644, REPLACE);
      this.#done(`wrote ${old}`);
      this.#move(this.#next.repositoryKey, this.#current.repositoryKey);
    }
    this.#refuseIf(!existsSync(old), 'there is no new key', this.#command());
    if (existsSync(this.#next.certificate)) this.#move(this.#next.certificate, this.#current.certificate);
    const { revision } = await resignManifest(this.#place, this.#ports);
    stamp(old, this.#ports.clock);
    this.#done(`signed revision ${revision} with the new key`);
  }

  async finishRepository(): Promise<void> {
    const old = oldPath(this.#current.certificate);
    this.#refuseIf(
      existsSync(this.#next.certificate),
      'the new key is not in use',
      this.#command('repository --use'),
    );
    this.#refuseIf(!existsSync(old), 'there is no old certificate', this.#command());
    const certificates = [readKeyFile(this.#current.certificate)];
    await this.#verifyPublished(certificates);
    this.#waitFor(old);
    const masterKey = openMasterKey(this.#opener, this.#options.masterKeyFile ?? this.#current.masterKey);
    await writeWhitelist(this.#place.settings, { masterKey, certificates }, this.#ports);
    this.#done('published a whitelist without the old certificate');
    rmSync(old);
    this.#done(`removed ${old}`);
  }

  /** Throws CONFLICT unless a certificate that stays signed what is published. */
  async #verifyPublished(certificates: readonly Uint8Array[]): Promise<void> {
    const storage = openStorage(storageLocation(this.#place.settings.storage));
    try {
      const bytes = (await storage.read(MANIFEST_PATH)) ?? new Uint8Array(0);
      verifyOwnCertificate(this.#ports, parseManifest(this.#ports.hashing, bytes), { certificates });
    } catch (error) {
      throw new ThimbleError(
        'CONFLICT',
        'Cannot drop the old certificate: what is published is not by the new one',
        {
          hint: this.#command('repository --use'),
          cause: error,
        },
      );
    } finally {
      await storage.close();
    }
  }

  // ---- master key: clients have both public keys before the new one signs ----

  async beginMaster(): Promise<void> {
    this.#refuseIf(
      existsSync(oldPath(this.#current.publicKey)),
      'the last one is not finished',
      this.#command('master --finish'),
    );
    if (existsSync(this.#next.publicKey)) return;
    const passphrase = this.#passphraseLike(this.#current.masterKey, 'rsa');
    const { privateKey, publicKey } = await generateRsa();
    writeKeyFile(this.#next.masterKey, encodePrivateKey(privateKey, passphrase), 0o600, REPLACE);
    this.#done(`wrote ${this.#next.masterKey}`);
    writeKeyFile(this.#next.publicKey, encodePublicKey(publicKey), 0o644, REPLACE);
    this.#done(`wrote ${this.#next.publicKey}`);
  }

  async useMaster(): Promise<void> {
    const { masterKey, publicKey } = this.#current;
    const given = this.#options.masterKeyFile;
    this.#refuseIf(!existsSync(this.#next.publicKey), 'there is no new key', this.#command('master'));
    // A step that was cut off may have moved the private half already.
    const path = given ?? (existsSync(this.#next.masterKey) ? this.#next.masterKey : masterKey);
    if (!isPublicHalf(readKeyFile(this.#next.publicKey), openMasterKey(this.#opener, path))) {
      throw new ThimbleError('USAGE', `Cannot sign with ${path}: ${this.#next.publicKey} is of another key`, {
        hint: 'give the new master key with --master-key FILE',
      });
    }
    writeKeyFile(oldPath(publicKey), readKeyFile(publicKey), 0o644, REPLACE);
    this.#done(`wrote ${oldPath(publicKey)}`);
    await resignWhitelist(this.#place, { masterKeyFile: path }, this.#ports);
    this.#done('published a whitelist that the new master key signed');
    // The old one is kept: whitelists of it may be asked for until every client has the new one.
    const isHere = existsSync(this.#next.masterKey);
    const isReplaced = isHere || (given !== undefined && resolve(given) !== resolve(masterKey));
    if (isReplaced && existsSync(masterKey) && !existsSync(oldPath(masterKey))) {
      this.#move(masterKey, oldPath(masterKey));
    }
    if (isHere) this.#move(this.#next.masterKey, masterKey);
    this.#move(this.#next.publicKey, publicKey);
  }

  async finishMaster(): Promise<void> {
    const old = oldPath(this.#current.publicKey);
    this.#refuseIf(
      existsSync(this.#next.publicKey),
      'the new key is not in use',
      this.#command('master --use'),
    );
    this.#refuseIf(!existsSync(old), 'there is no old key', this.#command('master'));
    rmSync(oldPath(this.#current.masterKey), { force: true });
    this.#done(`removed ${oldPath(this.#current.masterKey)}`);
    rmSync(old);
    this.#done(`removed ${old}`);
  }

  // ---- Ed25519 key: both sign from the beginning to the end; the first one of a repository is begun with, too ----

  async beginEd25519(): Promise<void> {
    this.#refuseIf(
      this.#isEd25519HalfMoved(),
      'the last one is not finished',
      this.#command('ed25519 --finish'),
    );
    const isFirst = !existsSync(this.#current.ed25519Key) || !existsSync(this.#current.ed25519PublicKey);
    const paths = isFirst ? this.#current : this.#next;
    if (!existsSync(paths.ed25519Key)) {
      const like = isFirst ? this.#current.repositoryKey : this.#current.ed25519Key;
      const passphrase = this.#passphraseLike(like, isFirst ? 'rsa' : 'ed25519');
      const { privateKey } = await generateEd25519();
      writeKeyFile(paths.ed25519Key, encodePrivateKey(privateKey, passphrase), 0o600);
      this.#done(`wrote ${paths.ed25519Key}`);
    }
    const { revision } = await resignManifest(this.#place, this.#ports);
    this.#done(`signed revision ${revision} with it too`);
    // Only now: readers on this machine demand a signature as soon as they find the key.
    const key = this.#opener.open(paths.ed25519Key, 'ed25519');
    writeKeyFile(paths.ed25519PublicKey, encodePublicKey(createPublicKey(key)), 0o644, REPLACE);
    this.#done(`wrote ${paths.ed25519PublicKey}`);
  }

  async useEd25519(): Promise<void> {
    throw new ThimbleError('USAGE', 'Cannot use the new Ed25519 key more: it signs from the beginning', {
      hint: `once every client has its public half: ${this.#command('ed25519 --finish')}`,
    });
  }

  async finishEd25519(): Promise<void> {
    const isBegun = existsSync(this.#next.ed25519Key) && existsSync(this.#next.ed25519PublicKey);
    const isHalfMoved = this.#isEd25519HalfMoved();
    this.#refuseIf(!isBegun && !isHalfMoved, 'there is no new key', this.#command('ed25519'));
    if (isBegun) this.#move(this.#next.ed25519Key, this.#current.ed25519Key);
    this.#move(this.#next.ed25519PublicKey, this.#current.ed25519PublicKey);
    const { revision } = await resignManifest(this.#place, this.#ports);
    this.#done(`signed revision ${revision} without the old key`);
  }

  #isEd25519HalfMoved(): boolean {
    return existsSync(this.#next.ed25519PublicKey) && !existsSync(this.#next.ed25519Key);
  }

  // ---- all ----

  /** New keys are protected as the old ones are, by the same passphrase. */
  #passphraseLike(path: string, type: PrivateKeyType): Uint8Array | undefined {
    return existsSync(path) ? this.#opener.passphraseOf(path, type) : this.#options.passphrase;
  }

  #move(from: string, to: string): void {
    renameSync(from, to);
    syncFolder(this.#place.folder);
    this.#done(`moved ${from} to ${to}`);
  }

  #command(what = 'repository'): string {
    return `thimble key rotate ${this.#place.settings.fqrn} ${what}`;
  }

  #done(what: string): void {
    this.#options.onDone?.(what);
  }

  #refuseIf(isWrong: boolean, why: string, hint: string): void {
    if (isWrong)
      throw new ThimbleError('CONFLICT', `Cannot take this step in a change of keys: ${why}`, { hint });
  }

  /** Throws CONFLICT while caches may hold what was published before the step that a file is of. */
  #waitFor(path: string): void {
    const until = Math.floor(statSync(path).mtimeMs / 1000) + OVERLAP_SECONDS;
    if (this.#options.withoutWaiting || this.#ports.clock.unixSeconds() >= until) return;
    throw new ThimbleError(
      'CONFLICT',
      `Cannot take this step before ${new Date(until * 1000).toISOString().slice(0, 19)}Z: caches may hold what was published before`,
      { hint: 'wait, or add --now if no cache and no replica is between you and your clients' },
    );
  }
}

const REPLACE = { replace: true } as const;
