/**
 * `npm run bench -- kill [--rounds 200] [--seed N] [--verbose]`: how much killing publisher, collector and replicator stand.
 * A round that leaves anything but a sound repository ends it with an error that names round and seed.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runKillRounds } from '../test/support/kill-rounds.ts';
import { type Bar, describeMachine, report } from './report.ts';

const bars: Readonly<Record<string, Bar>> = { rounds: { atLeast: 200 } };

export async function runKill(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '200' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      json: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
    },
  });
  const machine = describeMachine();
  const scratch = mkdtempSync(join(tmpdir(), 'thimble-kill-'));
  // In memory where that is possible: no power is cut, so nothing is learned from waiting for a disk.
  const isMounted =
    process.getuid?.() === 0 &&
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512m', 'tmpfs', scratch]).status === 0;
  try {
    const figures = await runKillRounds({
      scratch,
      rounds: Number(values.rounds),
      seed: Number(values.seed),
      onRound: (line) => {
        if (values.verbose) process.stderr.write(`${line}\n`);
      },
    });
    report('kill', machine, { seed: Number(values.seed), ...figures }, bars, values.json);
  } finally {
    if (isMounted) spawnSync('umount', ['-l', scratch]);
    rmSync(scratch, { recursive: true, force: true });
  }
}
