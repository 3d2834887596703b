/**
 * Which accelerator QEMU can use. `/dev/kvm` may be there and still not run ordinary guests (nested and paravirtual hosts
 * emulate what they cannot run, a thousand times slower, and fail at the rest), so a few instructions are booted.
 */

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Accelerator = 'kvm' | 'tcg';

const PROBE_LIMIT_MS = 5_000;
const SECTOR_BYTES = 512;

/** What the probe writes to QEMU's debug exit port, and the exit status that QEMU makes of it. */
const PROBE_VALUE = 0x2a;
const PROBE_STATUS = (PROBE_VALUE << 1) | 1;

/**
 * A boot sector, loaded at 0x7c00. What kernels do and half-working hosts do not:
 *
 *   cli; zero ds, es, ss; sp = 0x7c00            fa 31c0 8ed8 8ec0 8ed0 bc007c
 *   zero 12 kB at 0x1000                         bf0010 b90018 f3ab
 *   page tables: first 2 MB onto themselves      c70600100320 c70600200330 c70600308300
 *   cr3 = 0x1000; cr4.PAE; EFER.LME; cr0.PE+PG   66b8... 0f22d8 ... 0f22c0
 *   lgdt; far jump to 64-bit code                0f0116c87c ea5f7c0800
 *   cpuid 1: if CX16, lock cmpxchg16b [0x4000]   ... f0480fc70c2500400000
 *   cpuid 7: if BMI2, shlx rdx, rax, rcx         ... c4e2f1f7d0
 *   count ecx down from 100,000,000              b900e1f505 ffc9 75fc
 *   out 0xf4, 0x2a; halt                         b02a e6f4 f4 ebfd
 *   GDT: null, 64-bit code, data; its pointer
 */
const PROBE_CODE =
  'fa31c08ed88ec08ed0bc007cbf0010b90018f3abc70600100320c70600200330c7060030830066b8001000000f22d80f20e06683c8200f22e0' +
  '66b9800000c00f32660d000100000f300f20c0660d010000800f22c00f0116c87cea5f7c080066b810008ed88ed0b8010000000fa20fbae10d' +
  '731231c031d231db31c9f0480fc70c2500400000b80700000031c90fa20fbae3087305c4e2f1f7d0b900e1f505ffc975fcb02ae6f4f4ebfd66' +
  '0f1f440000000000000000000000000000009a200000000000009200001700b07c0000';

let known: Promise<Accelerator> | undefined;

/** Answers the same for the life of the process. */
export function accelerator(): Promise<Accelerator> {
  known ??= (async () => (existsSync('/dev/kvm') && (await runsProbe('kvm', 'host')) ? 'kvm' : 'tcg'))();
  return known;
}

/** Boots the probe; true if it came to its end in time. */
export async function runsProbe(candidate: Accelerator, cpu: string): Promise<boolean> {
  if (process.arch !== 'x64') return candidate === 'kvm';
  const folder = mkdtempSync(join(tmpdir(), 'thimble-probe-'));
  try {
    const image = join(folder, 'probe.img');
    const sector = Buffer.alloc(SECTOR_BYTES);
    sector.write(PROBE_CODE, 'hex');
    sector.writeUInt16LE(0xaa55, SECTOR_BYTES - 2);
    writeFileSync(image, sector);
    const args = [
      '-accel',
      candidate,
      '-cpu',
      cpu,
      '-machine',
      'pc',
      '-m',
      '16',
      '-display',
      'none',
      '-nodefaults',
      '-no-reboot',
    ];
    args.push('-device', 'isa-debug-exit,iobase=0xf4,iosize=1', '-drive', `file=${image},format=raw,if=ide`);
    const child = spawn('qemu-system-x86_64', args, { stdio: 'ignore' });
    const timer = setTimeout(() => child.kill('SIGKILL'), PROBE_LIMIT_MS);
    const status = await new Promise<number | null>((resolve) => {
      child.once('error', () => resolve(null));
      child.once('close', resolve);
    });
    clearTimeout(timer);
    return status === PROBE_STATUS;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
