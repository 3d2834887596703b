/**
 * A transaction: the published tree, writable, until it is published or given up. The tree is the lower layer of an
 * overlay, changes gather in its upper layer. That layer and the state file are all that counts: mounts and processes may
 * go and come again.
 */

import { linkSync, lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { Clock } from '../core/ports.ts';
import type { TreeChanges } from '../core/tree.ts';
import { copyAttributes } from '../node/copy-attributes.ts';
import { findMount } from '../node/fuse-mount.ts';
import { makeFolder } from '../node/make-folder.ts';
import { formatUsers, type MountUser, usersOf } from '../node/mount-users.ts';
import { mountOverlay, overlayAt, remountOverlay, unmount } from '../node/overlay-mount.ts';
import { identityOf } from '../node/process-identity.ts';
import { takeLock } from '../storage/lock.ts';
import { INDEX_FOLDER, OverlayChanges } from './overlay-changes.ts';
import {
  readTransactionState,
  removeTransactionState,
  type TransactionState,
  writeTransactionState,
} from './transaction-state.ts';

/** What serves the lower layer. */
export interface LowerMount {
  readonly pid: number;
  readonly rootCatalog: ContentHash;
  readonly revision: number | undefined;
}

export interface LowerLayer {
  readonly rootCatalog: ContentHash;
  /** Made by the mount, see `CatalogOrder`. */
  readonly catalogsFile: string;
}

export interface TransactionPorts {
  readonly clock: Clock;
  /**
   * Mounts a snapshot in the background: the newest, or `rootHash`. File handles stay the same over mounts with the same
   * `catalogsFile`.
   */
  mountLower(given: {
    readonly mountpoint: string;
    readonly rootHash: ContentHash | undefined;
    readonly catalogsFile: string;
  }): Promise<LowerMount>;
  /** All names of a file in the lower layer; `handle` is what the index of an overlay calls it. */
  namesOf(given: LowerLayer, handle: ByteString): Promise<readonly ByteString[]>;
  /** Root catalog of what is published now. */
  publishedRoot(): Promise<ContentHash>;
}

export interface BeginOptions {
  readonly mountpoint: string;
  /** For the layers; `undefined` takes the publisher's folder. */
  readonly scratch?: string | undefined;
}

export interface TransactionStatus extends TransactionState {
  /** The tree can be reached and written to. */
  readonly mounted: boolean;
}

export interface ApplyOptions {
  /** Do it also while files are open for writing. */
  readonly force?: boolean;
}

/** What goes to whoever publishes. */
export interface ApplyTransaction {
  readonly changes: TreeChanges;
  readonly expectedRoot: ContentHash;
  /** To be called right before the manifest is replaced. */
  beforeCommit(rootCatalog: ContentHash): void;
}

export interface Ended {
  /** Still in use when it ended; the mount goes with the last of them. */
  readonly users: readonly MountUser[];
}

export class Transaction {
  readonly #fqrn: Fqrn;
  readonly #folder: string;
  readonly #ports: TransactionPorts;

  /** `folder` is the publisher's own, of this repository. */
  constructor(fqrn: Fqrn, folder: string, ports: TransactionPorts) {
    this.#fqrn = fqrn;
    this.#folder = folder;
    this.#ports = ports;
  }

  /** `undefined` if none is open. Throws STORAGE, FORMAT. */
  status(): TransactionStatus | undefined {
    const state = this.#read();
    return state && { ...state, mounted: this.#isMounted(state) && this.#isServed(state) };
  }

  /** What differs from the snapshot it started from. Throws NOT_FOUND. */
  changes(): TreeChanges {
    return this.#changesOf(this.#open());
  }

  /** Opens one. Throws CONFLICT if one is open, USAGE, STORAGE, and what `mountLower` throws. */
  begin({ mountpoint, scratch }: BeginOptions): Promise<TransactionState> {
    const layers =
      scratch === undefined
        ? join(this.#folder, 'transaction')
        : join(resolve(scratch), `thimble-${this.#fqrn}`);
    return this.beginAt(resolve(mountpoint), layers);
  }

  /** Opens one where another was. Throws as `begin` does. */
  async beginAt(mountpoint: string, layers: string): Promise<TransactionState> {
    return this.#locked(async () => {
      const present = this.#read();
      if (present?.phase === 'ended') this.#end(present);
      else if (present !== undefined) throw this.#isOpen(present);
      checkUnused(mountpoint);
      prepareLayers(layers);
      const lower = await this.#ports.mountLower({
        mountpoint: join(layers, 'lower'),
        rootHash: undefined,
        catalogsFile: catalogsFileOf(layers),
      });
      const madeMountpoint = statSync(mountpoint, { throwIfNoEntry: false }) === undefined;
      const state: TransactionState = {
        version: 1,
        rootCatalog: lower.rootCatalog,
        revision: lower.revision ?? 0,
        startedSeconds: this.#ports.clock.unixSeconds(),
        user: process.env['SUDO_USER'] ?? userInfo().username,
        host: hostname(),
        mountpoint,
        madeMountpoint,
        layers,
        server: serverOf(lower),
        phase: 'open',
      };
      try {
        makeFolder(mountpoint);
        // The root of an overlay is that of its upper layer.
        copyAttributes(join(layers, 'lower'), join(layers, 'upper'));
        this.#write(state);
        this.#mountOverlay(state);
      } catch (error) {
        this.#end(state);
        throw error;
      }
      return state;
    });
  }

  /** Brings the mounts of an open transaction back, after a crash or a reboot. Throws NOT_FOUND, CONFLICT, STORAGE. */
  async resume(): Promise<TransactionState> {
    return this.#locked(async () => {
      const state = this.#open();
      if (this.#isMounted(state) && this.#isServed(state)) {
        remountOverlay(state.mountpoint, 'writable');
        return state;
      }
      if (this.#isMounted(state)) this.#unmountUnused(state);
      unmountLower(state);
      checkUnused(state.mountpoint);
      makeFolder(state.mountpoint);
      const lower = await this.#ports.mountLower({
        mountpoint: join(state.layers, 'lower'),
        rootHash: state.rootCatalog,
        catalogsFile: catalogsFileOf(state.layers),
      });
      const resumed = { ...state, server: serverOf(lower) };
      this.#write(resumed);
      const release = holdIndex(state.layers);
      this.#mountOverlay(resumed);
      release();
      return resumed;
    });
  }

  /**
   * Hands the changes to `publish`, and ends the transaction when that is done. When it fails, the transaction stays open.
   * Throws NOT_FOUND, CONFLICT if files are open for writing, and what `publish` throws.
   */
  async apply<T>(
    publish: (given: ApplyTransaction) => Promise<T>,
    options: ApplyOptions = {},
  ): Promise<T & Ended> {
    return this.#locked(async () => {
      const state = this.#open();
      if (state.publishing !== undefined && state.publishing === (await this.#ports.publishedRoot())) {
        // It ended after its commit, and before its end. Publishing nothing tells what has been published.
        const changes = { name: this.#fqrn, async *changes() {} };
        const result = await publish({ changes, expectedRoot: state.publishing, beforeCommit: () => {} });
        return { ...result, ...this.#end(state) };
      }
      const isMounted = this.#isMounted(state);
      if (isMounted) this.#makeReadOnly(state, options.force ?? false);
      try {
        const result = await publish({
          changes: this.#changesOf(state),
          expectedRoot: state.rootCatalog,
          beforeCommit: (rootCatalog) => this.#write({ ...state, publishing: rootCatalog }),
        });
        return { ...result, ...this.#end(state) };
      } catch (error) {
        if (isMounted) remountOverlay(state.mountpoint, 'writable');
        throw error;
      }
    });
  }

  /** Gives all changes up. Throws NOT_FOUND, CONFLICT if somebody uses the mount and `force` is not set. */
  async abort({ force = false }: ApplyOptions = {}): Promise<Ended> {
    return this.#locked(async () => {
      const state = this.#read();
      if (state === undefined) throw this.#noneOpen();
      if (!force && this.#isMounted(state)) this.#unmountUnused(state);
      return this.#end(state);
    });
  }

  #changesOf({ rootCatalog, layers }: TransactionState): TreeChanges {
    const lower = { rootCatalog, catalogsFile: catalogsFileOf(layers) };
    return new OverlayChanges(
      {
        upper: join(layers, 'upper'),
        work: join(layers, 'work'),
        namesOf: (handle) => this.#ports.namesOf(lower, handle),
      },
      `the transaction of ${this.#fqrn}`,
    );
  }

  // ---- mounts ----

  #isMounted({ mountpoint }: TransactionState): boolean {
    return overlayAt(mountpoint)?.source === this.#fqrn;
  }

  #isServed({ server }: TransactionState): boolean {
    return identityOf(server.pid) === server.identity;
  }

  #mountOverlay({ layers, mountpoint }: TransactionState): void {
    mountOverlay({ folder: layers, mountpoint, name: this.#fqrn });
  }

  #makeReadOnly({ mountpoint }: TransactionState, force: boolean): void {
    if (remountOverlay(mountpoint, 'read-only') || force) return;
    const writers = usersOf(mountpoint).filter((user) => user.isWriting);
    const [first] = writers;
    const what = first === undefined ? '' : `: ${first.path} by ${formatUsers(writers)}`;
    throw new ThimbleError('CONFLICT', `Cannot publish ${this.#fqrn}: files are open for writing${what}`, {
      hint: 'end these programs, or publish with --force what the files have now',
    });
  }

  #unmountUnused({ mountpoint }: TransactionState): void {
    if (unmount(mountpoint)) return;
    const users = usersOf(mountpoint);
    const by = users.length === 0 ? '' : ` by ${formatUsers(users)}`;
    throw new ThimbleError('CONFLICT', `Cannot unmount ${mountpoint}: it is in use${by}`, {
      hint: 'end these programs, or leave the folder with: cd /',
    });
  }

  /** Unmounts and discards everything. What comes first, comes first: after a crash, the rest is done by the next command. */
  #end(state: TransactionState): Ended {
    const ended = { ...state, phase: 'ended' as const };
    if (state.phase !== 'ended') this.#write(ended);
    let users: readonly MountUser[] = [];
    if (this.#isMounted(state) && !unmount(state.mountpoint)) {
      users = usersOf(state.mountpoint);
      unmount(state.mountpoint, 'lazily');
    }
    unmountLower(state);
    removeLayers(state.layers);
    if (state.madeMountpoint) removeIfEmpty(state.mountpoint);
    removeTransactionState(this.#stateFile());
    return { users };
  }

  // ---- state ----

  #stateFile(): string {
    return join(this.#folder, 'transaction.json');
  }

  #read(): TransactionState | undefined {
    return readTransactionState(this.#stateFile());
  }

  #write(state: TransactionState): void {
    writeTransactionState(this.#stateFile(), state);
  }

  #open(): TransactionState {
    const state = this.#read();
    if (state?.phase === 'open') return state;
    throw this.#noneOpen();
  }

  #noneOpen(): ThimbleError {
    return new ThimbleError('NOT_FOUND', `Cannot find a transaction of ${this.#fqrn}: none is open`, {
      hint: `open one with: thimble transaction ${this.#fqrn}`,
    });
  }

  #isOpen({ user, host, startedSeconds, mountpoint }: TransactionState): ThimbleError {
    const since = new Date(startedSeconds * 1000).toISOString().replace('.000', '');
    return new ThimbleError(
      'CONFLICT',
      `Cannot open a transaction of ${this.#fqrn}: ${user} on ${host} has one open since ${since}, at ${mountpoint}`,
      {
        hint: `publish it, give it up with "thimble abort ${this.#fqrn}", or bring its mounts back with --resume`,
      },
    );
  }

  async #locked<T>(action: () => Promise<T>): Promise<T> {
    const release = takeLock(join(this.#folder, 'transaction.lock'), `the transaction of ${this.#fqrn}`);
    try {
      return await action();
    } finally {
      release();
    }
  }
}

function serverOf({ pid }: LowerMount): TransactionState['server'] {
  return { pid, identity: identityOf(pid) ?? '' };
}

function catalogsFileOf(layers: string): string {
  return join(layers, 'catalogs.json');
}

/** Throws USAGE, CONFLICT. */
function checkUnused(mountpoint: string): void {
  const present = findMount(mountpoint);
  if (present !== undefined && present.type !== 'rootfs') {
    throw new ThimbleError('CONFLICT', `Cannot mount on ${mountpoint}: ${present.source} is mounted there`, {
      hint: 'unmount it, or choose another folder with --at DIR',
    });
  }
  const stats = statSync(mountpoint, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isDirectory() || readdirSync(mountpoint).length > 0) {
    throw new ThimbleError('USAGE', `Cannot mount on ${mountpoint}: it is not an empty folder`, {
      hint: 'choose another with --at DIR',
    });
  }
}

/** Throws CONFLICT if there are changes that no transaction knows of. */
function prepareLayers(layers: string): void {
  unmountIfMounted(join(layers, 'lower'));
  const upper = join(layers, 'upper');
  if (statSync(upper, { throwIfNoEntry: false }) !== undefined && readdirSync(upper).length > 0) {
    throw new ThimbleError(
      'CONFLICT',
      `Cannot use ${upper}: it has changes that belong to no open transaction`,
      {
        hint: 'move what you need to another place, and remove the rest',
      },
    );
  }
  try {
    removeLayers(layers);
    mkdirSync(layers, { recursive: true, mode: 0o700 });
    for (const name of ['lower', 'upper', 'work']) mkdirSync(join(layers, name));
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot make folders for a transaction in ${layers}`, {
      hint: 'choose another place with --scratch DIR',
      cause: error,
    });
  }
}

/**
 * Gives each file in the index a further name, until the function is called that this returns. A mount takes files that
 * have no other name for orphans if it cannot open what they are copies of by its handle, which FUSE only can as long as it
 * remembers it: it would remove them, and with them what their names in the lower layer show.
 */
function holdIndex(layers: string): () => void {
  const held = join(layers, 'held');
  const index = join(layers, 'work', INDEX_FOLDER);
  rmSync(held, { recursive: true, force: true });
  mkdirSync(held);
  if (statSync(index, { throwIfNoEntry: false }) !== undefined) {
    for (const name of readdirSync(index)) {
      if (!lstatSync(join(index, name)).isDirectory()) linkSync(join(index, name), join(held, name));
    }
  }
  return () => rmSync(held, { recursive: true });
}

function removeLayers(layers: string): void {
  // Not what is mounted there, should that ever be so.
  if (findMount(join(layers, 'lower')) !== undefined) return;
  rmSync(layers, { recursive: true, force: true });
}

function unmountLower({ layers }: TransactionState): void {
  unmountIfMounted(join(layers, 'lower'));
}

function unmountIfMounted(path: string): void {
  if (findMount(path) !== undefined && !unmount(path)) unmount(path, 'lazily');
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody else uses it: then it is theirs.
  }
}
