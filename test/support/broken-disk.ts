/** A small disk (ext4 in a file) that breaks when a test says so, as disks under caches do. Needs root. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statfsSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { scratchFolder } from './scratch.ts';

/** EXT4_IOC_SHUTDOWN of the kernel's ext4.h, `_IOR('X', 125, __u32)`, with EXT4_GOING_FLAGS_NOLOGFLUSH. */
const SHUT_DOWN =
  'open(my $f, "<", $ARGV[0]) or die; my $how = pack("L", 2); ioctl($f, 0x8004587D, $how) or die "$!"';

export class BrokenDisk {
  /** Where it is mounted. */
  readonly folder: string;
  readonly #image: string;

  constructor(t: TestContext, sizeMib = 16) {
    const scratch = scratchFolder(t);
    this.folder = join(scratch, 'disk');
    this.#image = join(scratch, 'image');
    mkdirSync(this.folder);
    execFileSync('truncate', ['-s', `${sizeMib}M`, this.#image]);
    execFileSync('mkfs.ext4', ['-q', '-m', '0', '-O', '^has_journal', this.#image]);
    execFileSync('mount', ['-o', 'loop,errors=remount-ro', this.#image, this.folder]);
  }

  /** Takes all that is left on it. */
  fill(): void {
    const { bavail, bsize } = statfsSync(this.folder);
    spawnSync('dd', ['if=/dev/zero', `of=${this.#filler}`, `bs=${bsize}`, `count=${bavail}`], {
      stdio: 'ignore',
    });
  }

  /** There is room again. */
  empty(): void {
    unlinkSync(this.#filler);
  }

  /** The kernel finds it damaged and lets nobody write any more. */
  becomeReadOnly(): void {
    const device = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .find((line) => line.split(' ')[1] === this.folder)!
      .split(' ')[0]!;
    writeFileSync(`/sys/fs/ext4/${device.replace('/dev/', '')}/trigger_fs_error`, 'a test');
  }

  /** Everything on it is EIO from now on, for ever. */
  fail(): void {
    execFileSync('sync', ['-f', this.folder]);
    // What the kernel has in memory it would go on giving out.
    for (const one of readdirSync(this.folder, { withFileTypes: true, recursive: true }))
      if (one.isFile())
        execFileSync('dd', [
          `if=${join(one.parentPath, one.name)}`,
          'iflag=nocache',
          'count=0',
          'status=none',
        ]);
    execFileSync('perl', ['-e', SHUT_DOWN, this.folder]);
  }

  get #filler(): string {
    return join(this.folder, 'filler');
  }
}
