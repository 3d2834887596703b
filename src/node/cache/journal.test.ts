import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheId } from '../../../test/contract/cache-contract.ts';
import { scratchFolder } from '../../../test/support/scratch.ts';
import { Journal } from './journal.ts';

function openJournal(t: Pick<TestContext, 'after'>, folder: string): Journal {
  const journal = new Journal(folder);
  t.after(() => journal.close());
  return journal;
}

test('journals of one folder agree on what others put, drop and reserve', (t) => {
  const folder = scratchFolder(t);
  const [one, other] = [openJournal(t, folder), openJournal(t, folder)];
  assert.equal(one.put(cacheId(1), 100, 7), 100);
  assert.equal(other.put(cacheId(2), 50, 7), 150, 'it reads on before it answers');
  assert.equal(one.change(1_000, 0), 1_150);
  assert.equal(other.change(-100, -1), 1_050);
  assert.equal(one.putReserved(cacheId(3), 900, 7, 1_000), 950);
  other.catchUp();
  assert.deepEqual(other.usage, { bytes: 950, objects: 2 });
});

test('a journal goes on from the total that was written down, and reads only what came behind', (t) => {
  const folder = scratchFolder(t);
  const first = openJournal(t, folder);
  assert.equal(first.isCounted, false);
  first.put(cacheId(1), 100, 7);
  first.saveTotal(join(folder, 'new'));
  first.put(cacheId(2), 10, 7);
  const text = readFileSync(join(folder, 'sums'), 'latin1');
  writeFileSync(join(folder, 'sums'), text.replace(/ 100 /, ' 900 '));
  const second = openJournal(t, folder);
  assert.equal(second.isCounted, true);
  assert.deepEqual(second.usage, { bytes: 110, objects: 2 });
});

for (const [what, usage] of [
  ['is not there', undefined],
  ['is of another file', '100 1 1 0\n'],
  ['makes no sense', 'x\n'],
] as const) {
  test(`a journal counts all lines when the total ${what}`, (t) => {
    const folder = scratchFolder(t);
    openJournal(t, folder).put(cacheId(1), 100, 7);
    if (usage !== undefined) writeFileSync(join(folder, 'usage'), usage);
    const journal = openJournal(t, folder);
    assert.deepEqual([journal.isCounted, journal.usage.bytes], [false, 100]);
  });
}

test('a journal passes over lines that make no sense, and ends half a line', (t) => {
  const folder = scratchFolder(t);
  openJournal(t, folder).put(cacheId(1), 100, 7);
  appendFileSync(join(folder, 'sums'), `\0\0\0\n\n+ x\n-1\n=1 y\nword\n${cacheId(2)} 5\n${cacheId(3)} 50`);
  const journal = openJournal(t, folder);
  assert.equal(journal.put(cacheId(4), 1, 7), 101);
  const lines = readFileSync(join(folder, 'sums'), 'latin1').split('\n');
  assert.deepEqual(lines.slice(-3), [`${cacheId(3)} 50`, `${cacheId(4)} 1 00000007`, '']);
});

test('a count replaces the total for all, and loses nothing that others append at the moment', (t) => {
  const folder = scratchFolder(t);
  const [one, other] = [openJournal(t, folder), openJournal(t, folder)];
  one.put(cacheId(1), 100, 7);
  other.setTotal({ bytes: 40, objects: 1 });
  assert.equal(one.put(cacheId(2), 5, 7), 45);
  assert.equal(other.change(-1_000, -9), 0, 'never below nothing');
  other.setTotal({ bytes: -5, objects: -1 });
  assert.deepEqual(other.usage, { bytes: 0, objects: 0 });
});
