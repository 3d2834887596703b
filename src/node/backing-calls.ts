/**
 * The two calls of passthrough: they show the kernel a file, and take it away again. Node has no ioctl(2); these go to the C
 * library of the process (FUSE_DEV_IOC_BACKING_OPEN and _CLOSE in include/uapi/linux/fuse.h).
 */

import { getSystemErrorName } from 'node:util';
import { ThimbleError } from '../core/errors.ts';

export interface BackingCalls {
  /** Answers the number by which the kernel knows the file; `file` may be closed then. Throws STORAGE. */
  open(device: number, file: number): number;
  /** Nobody opens it any more. Never throws. */
  close(device: number, backingId: number): void;
}

/** `_IOW(229, 1, struct fuse_backing_map)` and `_IOW(229, 2, uint32_t)`. */
const BACKING_OPEN = 0x4010_e501;
const BACKING_CLOSE = 0x4004_e502;

/** Throws UNSUPPORTED where koffi is missing, or not made for this machine. */
export async function loadBackingCalls(): Promise<BackingCalls> {
  const koffi = await import('koffi')
    .then((module) => module.default)
    .catch((cause: unknown) => {
      throw new ThimbleError('UNSUPPORTED', 'Cannot use passthrough: koffi cannot be loaded', { cause });
    });
  const ioctl = koffi.load(null).func('int ioctl(int fd, unsigned long request, void *argument)');
  const argument = new Int32Array(4);
  return {
    open(device, file) {
      argument.set([file, 0, 0, 0]);
      const backingId = ioctl(device, BACKING_OPEN, argument) as number;
      if (backingId > 0) return backingId;
      const code = getSystemErrorName(-koffi.errno());
      throw new ThimbleError('STORAGE', `Cannot show the kernel a cached file: ${code}`, {
        details: { code },
      });
    },
    close(device, backingId) {
      argument.set([backingId, 0, 0, 0]);
      // It fails for what is closed, or when the file system is gone: either way there is nothing left to close.
      ioctl(device, BACKING_CLOSE, argument);
    },
  };
}
