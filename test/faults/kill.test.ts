import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runKillRounds } from '../support/kill-rounds.ts';
import { memoryScratch } from '../support/scratch.ts';

const SEED = 20_261_122;

test(`publishing, collecting garbage and replicating, killed in the middle, leave whole snapshots; the next run goes on, and nothing is left behind (seed ${SEED}; npm run bench -- kill has more)`, async (t) => {
  const { rounds, killed } = await runKillRounds({ scratch: memoryScratch(t), rounds: 12, seed: SEED });
  assert.equal(rounds, 12);
  assert.ok(killed >= 4, `${killed} of ${rounds} were killed`);
});
