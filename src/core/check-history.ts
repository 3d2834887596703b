/** What a tag database has to keep to (docs/manual/check.md has the table in words). */

import type { Branch, History, Tag } from './history.ts';

const BRANCH_NAME = /^[A-Za-z0-9._@/-]*$/;

/** What is wrong with a history, each a sentence. */
export function* checkHistory({ tags, branches }: History): Iterable<string> {
  if (tags.length === 0) yield 'the history has no tags, not even trunk';
  yield* repeated(tags, 'tag');
  yield* repeated(branches, 'branch');
  const known = new Map(branches.map((branch) => [branch.name, branch]));
  for (const branch of branches) yield* checkBranch(branch, known);
  for (const tag of tags) yield* checkTag(tag, known);
  const used = new Set(tags.map(({ branch }) => branch));
  for (const { name } of branches) {
    // Without any tag, that has been said.
    if (tags.length > 0 && !used.has(name)) yield `no tag is on ${shown(name)}`;
  }
}

function* repeated(list: readonly { readonly name: string }[], what: string): Iterable<string> {
  const names = new Set<string>();
  for (const { name } of list) {
    if (names.has(name)) yield `more than one ${what} has the name ${JSON.stringify(name)}`;
    names.add(name);
  }
}

function* checkBranch({ name, parent }: Branch, known: ReadonlyMap<string, Branch>): Iterable<string> {
  if (!BRANCH_NAME.test(name)) yield `${JSON.stringify(name)} cannot be the name of a branch`;
  const isTrunk = name === '';
  if (isTrunk && parent !== undefined) yield 'the trunk has a parent';
  if (!isTrunk && parent === undefined) yield `${shown(name)} has no parent`;
  if (parent !== undefined && !known.has(parent)) {
    yield `${shown(name)} begins on ${shown(parent)}, which does not exist`;
  }
}

function* checkTag({ name, branch, revision }: Tag, known: ReadonlyMap<string, Branch>): Iterable<string> {
  const on = known.get(branch);
  if (on === undefined) yield `tag ${JSON.stringify(name)} is on ${shown(branch)}, which does not exist`;
  else if (revision < on.initialRevision) {
    yield `tag ${JSON.stringify(name)} has revision ${revision}, and ${shown(branch)} begins at ${on.initialRevision}`;
  }
}

function shown(branch: string): string {
  return branch === '' ? 'the trunk' : `branch ${JSON.stringify(branch)}`;
}
