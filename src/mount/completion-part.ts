/** Fills the cache of a mount in the background, when it is asked to. */

import { Completion, type CompletionStatus } from '../client/complete.ts';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { utf8 } from '../core/bytes/utf8.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import { nodeClock } from '../node/clock.ts';
import { nodeHashing } from '../node/hashing.ts';
import type { RepositoryAccess } from '../node/repository-access.ts';
import { type ControlRequest, type ControlRoute, countIn, stringsIn } from './control-route.ts';

export interface CompletedMount {
  readonly mountpoint: string;
  readonly access: Pick<RepositoryAccess, 'objects' | 'cache'>;
  readonly mounted: () => MountedSnapshot;
  readonly log: Log;
}

const MIN_RATE = 1;
const MAX_RATE = 2 ** 50;

export class CompletionPart {
  readonly #mount: CompletedMount;
  #completion: Completion | undefined;
  #isRunning = false;

  constructor(mount: CompletedMount) {
    this.#mount = mount;
  }

  /** What can be asked of it. */
  get routes(): readonly ControlRoute[] {
    return [
      { method: 'POST', path: '/complete', handle: (request) => this.#start(request) },
      { method: 'GET', path: '/complete', handle: () => this.#told() },
      { method: 'DELETE', path: '/complete', handle: () => this.#cancel() },
    ];
  }

  /** Empty as long as nobody has asked for anything. */
  status(): CompletionStatus | Record<string, never> {
    return this.#completion?.status() ?? {};
  }

  /** The mount ends. */
  stop(): void {
    this.#completion?.cancel();
  }

  #cancel(): CompletionStatus {
    const status = this.#told();
    this.stop();
    return status;
  }

  #told(): CompletionStatus {
    if (this.#completion === undefined) {
      throw new ThimbleError('NOT_FOUND', `Nothing is being completed on ${this.#mount.mountpoint}`, {
        hint: `begin with: thimble complete ${this.#mount.mountpoint}`,
      });
    }
    return this.#completion.status();
  }

  /** Answers when it is known how much there is to fetch; the rest happens in the background. */
  async #start(request: ControlRequest): Promise<CompletionStatus> {
    if (this.#isRunning) {
      throw new ThimbleError('CONFLICT', `${this.#mount.mountpoint} is being completed already`, {
        hint: `see how far it is with: thimble status ${this.#mount.mountpoint}`,
      });
    }
    const { mounted, access, log, mountpoint } = this.#mount;
    const paths =
      'paths' in request.body ? stringsIn(request, 'paths').map((path) => this.#within(path)) : [];
    const rateBytesPerSecond =
      'rateBytesPerSecond' in request.body
        ? countIn(request, 'rateBytesPerSecond', MIN_RATE, MAX_RATE)
        : undefined;
    const { objects, cache } = access;
    const completion = new Completion(
      mounted().snapshot,
      { objects, cache, hashing: nodeHashing, clock: nodeClock },
      { paths, rateBytesPerSecond, isPatient: true },
    );
    this.#completion = completion;
    this.#isRunning = true;
    try {
      await completion.count();
    } catch (error) {
      this.#isRunning = false;
      throw error;
    }
    completion
      .run()
      .then(() => log.info('completed', { mountpoint, bytes: completion.status().fetchedBytes }))
      .catch((error: unknown) => log.warn('not completed', { mountpoint, error: messageOf(error) }))
      .finally(() => {
        this.#isRunning = false;
      });
    return completion.status();
  }

  /** A path of the tree, for one of this machine. */
  #within(path: string) {
    const { mountpoint } = this.#mount;
    const isBelow = path === mountpoint || path.startsWith(`${mountpoint}/`);
    return utf8(isBelow ? path.slice(mountpoint.length) : path);
  }
}
