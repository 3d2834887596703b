import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../test/support/fake-clock.ts';
import { parseServerList, ServerList } from './server-list.ts';
import type { Source } from './source.ts';

test('parseServerList() fills in the name of the repository and its organisation', () => {
  assert.deepEqual(
    parseServerList(
      'http://a/cvmfs/@fqrn@; https://b/@org@/@fqrn@ ;;http://a/cvmfs/@fqrn@',
      'os.example.org',
    ),
    ['http://a/cvmfs/os.example.org', 'https://b/os/os.example.org'],
  );
  assert.deepEqual(parseServerList('file:///srv/@fqrn@', 'x.y'), ['file:///srv/x.y']);
  assert.deepEqual(parseServerList('', 'x.y'), []);
});

test('parseServerList() refuses what is no address', () => {
  for (const text of ['nowhere', 'http://a/x;ftp://b/x', 'http://a/x y'])
    assert.throws(() => parseServerList(text, 'x.y'), { code: 'USAGE' }, text);
});

const source = (name: string): Source => ({
  name,
  open: async () => {
    throw new Error('never asked');
  },
});

test('ServerList tries preferred servers again some time after it was switched, and not before', () => {
  const clock = new ManualClock();
  const list = new ServerList(['a', 'b', 'c'].map(source), clock, 1_000);
  assert.equal(list.trialMs, Number.POSITIVE_INFINITY);
  list.switchTo(list.entries[2]!);
  assert.equal(list.current.source.name, 'c');
  assert.equal(list.trialMs, clock.monotonicMs() + 1_000);
  clock.advance(1_500);
  assert.deepEqual(
    list.startTrial().map((entry) => entry.source.name),
    ['a', 'b'],
  );
  assert.equal(list.trialMs, clock.monotonicMs() + 1_000);
  list.switchTo(list.entries[0]!);
  assert.equal(list.trialMs, Number.POSITIVE_INFINITY);
});

test('ServerList does not switch to a server that it does not have any more', () => {
  const list = new ServerList(['a', 'b'].map(source), new ManualClock(), 1_000);
  const [, b] = list.entries;
  list.replace([source('c')]);
  list.switchTo(b!);
  assert.equal(list.current.source.name, 'c');
  assert.throws(() => list.replace([]), { code: 'USAGE' });
});
