import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkHistory } from './check-history.ts';
import type { ContentHash } from './content-hash.ts';
import { type Branch, emptyHistory, type History, type Tag, TRUNK_BRANCH } from './history.ts';

const tag = (name: string, branch = '', revision = 5): Tag => ({
  name,
  rootCatalog: 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497' as ContentHash,
  rootCatalogSizeBytes: 0,
  revision,
  timestampSeconds: 0,
  description: '',
  branch,
});
const side = (over: Partial<Branch> = {}): Branch => ({
  name: 'side',
  parent: '',
  initialRevision: 3,
  ...over,
});
const historyOf = (tags: readonly Tag[], branches: readonly Branch[] = [TRUNK_BRANCH]): History => ({
  ...emptyHistory('a.example.org'),
  tags,
  branches,
});

for (const [what, history, messages] of [
  ['tags on the trunk', historyOf([tag('trunk'), tag('v1')]), []],
  [
    'tags on two branches',
    historyOf([tag('trunk'), tag('a', 'side', 3)], [TRUNK_BRANCH, side({ name: 'side' })]),
    [],
  ],
  ['no tag', historyOf([]), ['the history has no tags, not even trunk']],
  ['a name twice', historyOf([tag('v1'), tag('v1')]), ['more than one tag has the name "v1"']],
  [
    'a branch twice',
    historyOf([tag('trunk'), tag('a', 'side')], [TRUNK_BRANCH, side(), side()]),
    ['more than one branch has the name "side"'],
  ],
  [
    'a tag on a branch that is not there',
    historyOf([tag('trunk'), tag('a', 'side')]),
    ['tag "a" is on branch "side", which does not exist'],
  ],
  ['no trunk', historyOf([tag('trunk')], []), ['tag "trunk" is on the trunk, which does not exist']],
  [
    'a tag from before its branch',
    historyOf([tag('trunk'), tag('a', 'side', 2)], [TRUNK_BRANCH, side()]),
    ['tag "a" has revision 2, and branch "side" begins at 3'],
  ],
  [
    'a branch without a tag',
    historyOf([tag('trunk')], [TRUNK_BRANCH, side()]),
    ['no tag is on branch "side"'],
  ],
  [
    'a name that no branch can have',
    historyOf([tag('trunk'), tag('a', 'a b')], [TRUNK_BRANCH, side({ name: 'a b' })]),
    ['"a b" cannot be the name of a branch'],
  ],
  [
    'a branch without a parent',
    historyOf([tag('trunk'), tag('a', 'side')], [TRUNK_BRANCH, side({ parent: undefined })]),
    ['branch "side" has no parent'],
  ],
  [
    'a parent that is not there',
    historyOf([tag('trunk'), tag('a', 'side')], [TRUNK_BRANCH, side({ parent: 'gone' })]),
    ['branch "side" begins on branch "gone", which does not exist'],
  ],
  [
    'a trunk with a parent',
    historyOf([tag('trunk')], [{ ...TRUNK_BRANCH, parent: '' }]),
    ['the trunk has a parent'],
  ],
] as const) {
  test(`checkHistory() says ${messages.length === 0 ? 'nothing' : 'what is wrong'} about ${what}`, () => {
    assert.deepEqual([...checkHistory(history)], messages);
  });
}
