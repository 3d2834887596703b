/**
 * mount(8), autofs and their files as an installed Thimble has them, in a mount namespace of its own: the machine stays as
 * it is.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const CONTRIB = fileURLToPath(new URL('../../contrib', import.meta.url));

export interface ScriptOutcome {
  readonly status: number | null;
  readonly output: string;
}

/** Runs `script` where /sbin has the mount helper; what it has mounted is unmounted at its end. */
export async function runInstalled(
  scratch: string,
  script: string,
  environment: Readonly<Record<string, string>>,
): Promise<ScriptOutcome> {
  const sbin = join(scratch, 'sbin');
  mkdirSync(sbin, { recursive: true });
  mkdirSync(join(scratch, 'work'), { recursive: true });
  for (const name of ['mount.fuse.thimble', 'mount.cvmfs'])
    symlinkSync(join(CONTRIB, 'mount.fuse.thimble'), join(sbin, name));
  const file = join(scratch, 'script.sh');
  writeFileSync(
    file,
    `set -u
mount -t tmpfs none ${scratch}/work
mkdir ${scratch}/work/upper ${scratch}/work/work
cp -a ${sbin}/. ${scratch}/work/upper
mount -t overlay none -o lowerdir=/usr/sbin,upperdir=${scratch}/work/upper,workdir=${scratch}/work/work /usr/sbin
finish() {
  for folder in $(grep ' ${scratch}/.* - fuse.thimble ' /proc/self/mountinfo | cut -d ' ' -f 5); do umount "$folder"; done
}
trap finish EXIT
${script}
`,
  );
  const child = spawn('unshare', ['--mount', '--propagation', 'private', '/bin/sh', file], {
    env: { ...process.env, NODE_OPTIONS: '', THIMBLE_STATE: join(scratch, 'state'), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const status = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { status, output };
}
