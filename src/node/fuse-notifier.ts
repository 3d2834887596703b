/**
 * Tells the kernel what it has to forget. Never from the main thread itself: the kernel takes locks for a notification
 * that a waiting request may hold, and that request may wait for the main thread. So each is written by a thread of
 * the pool, one after the other.
 */

import { write } from 'node:fs';
import { ThimbleError } from '../core/errors.ts';

/** Longer ago is what the kernel has forgotten already, or never knew. */
const NOTHING_TO_FORGET = new Set(['ENOENT', 'ENOTDIR']);
/** An older kernel, or none any more: the file system has been unmounted. */
const REFUSED = new Set(['EINVAL', 'ENOSYS', 'ENODEV', 'EBADF']);

export class FuseNotifier {
  readonly #fd: number;
  #last: Promise<unknown> = Promise.resolve();

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Sends after all before it. False if the kernel does not know such notifications. Throws STORAGE. */
  send(message: Uint8Array): Promise<boolean> {
    const sent = this.#last.then(() => this.#write(message));
    this.#last = sent.catch(() => undefined);
    return sent;
  }

  #write(message: Uint8Array): Promise<boolean> {
    return new Promise((resolve, reject) => {
      write(this.#fd, message, (error) => {
        const code = error?.code ?? '';
        if (error === null || NOTHING_TO_FORGET.has(code)) resolve(true);
        else if (REFUSED.has(code)) resolve(false);
        else reject(new ThimbleError('STORAGE', `Cannot notify the kernel: ${code}`, { cause: error }));
      });
    });
  }
}
