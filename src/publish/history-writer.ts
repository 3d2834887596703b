/** Writes the tag database: a small SQLite file (docs/format.md#history). */

import { NULL_HASH } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import {
  decodeHistory,
  findTag,
  type History,
  isMaintainedTag,
  type Tag,
  TRUNK,
  TRUNK_PREVIOUS,
} from '../core/history.ts';
import { encodeDatabase } from '../storage/sqlite-file.ts';

/** A revision without the names it has. */
export type TagHead = Omit<Tag, 'name' | 'description' | 'branch'>;

export interface NewTag {
  readonly name: string;
  readonly description: string;
}

/** Adds the newest revision to the tags: `trunk` moves to it, `trunk-previous` to the one before. */
export function historyWithRevision(
  history: History,
  head: TagHead,
  tag: NewTag | undefined,
): readonly Tag[] {
  const previous = history.tags.find(({ name }) => name === TRUNK);
  const tags = history.tags.filter((tag) => !isMaintainedTag(tag));
  if (previous !== undefined && previous.rootCatalog !== head.rootCatalog) {
    tags.push({ ...previous, name: TRUNK_PREVIOUS, description: 'default undo target' });
  } else {
    tags.push(...history.tags.filter(({ name }) => name === TRUNK_PREVIOUS));
  }
  tags.push(trunkOf(head));
  if (tag !== undefined) tags.push({ ...head, ...tag, branch: '' });
  return tags;
}

/**
 * The tags when `head` has the tree of `target` again, as the reference has them: the target's name moves there, younger
 * tags are removed, and there is nothing to go back to until the next publish. Throws UNSUPPORTED for one of a branch.
 */
export function historyAfterRollback(
  history: History,
  target: Tag,
  head: TagHead,
): { readonly tags: readonly Tag[]; readonly removed: readonly Tag[] } {
  if (target.branch !== '') {
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot roll back to ${target.name}: it is on branch ${target.branch}`,
    );
  }
  const isYounger = ({ branch, revision }: Tag) => branch === '' && revision > target.revision;
  const named = history.tags.filter((tag) => !isMaintainedTag(tag));
  const kept = named.filter((tag) => !isYounger(tag));
  return {
    tags: [...kept.map((tag) => (tag.name === target.name ? { ...tag, ...head } : tag)), trunkOf(head)],
    removed: named.filter(isYounger),
  };
}

/** The tags when the newest revision, `head`, differs from the one they name in nothing that anybody published. */
export function tagsWithTrunkAt(tags: readonly Tag[], head: TagHead): readonly Tag[] {
  return tags.map((tag) => (tag.name === TRUNK ? trunkOf(head) : tag));
}

/** Names of tags that publishing makes by itself, as the reference has them; a publisher with a gateway adds milliseconds. */
const AUTOMATIC_TAG = /^generic(_\d+)?-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/** The tag that publishing makes by itself: `generic-2026-11-22T12:00:00Z`, and `generic_2-...` for the next in a second. */
export function automaticTag(history: History, nowSeconds: number): NewTag {
  const taken = new Set(history.tags.map(({ name }) => name));
  const time = new Date(nowSeconds * 1000).toISOString().replace('.000', '');
  for (let i = 1; ; i++) {
    const name = `generic${i === 1 ? '' : `_${i}`}-${time}`;
    if (!taken.has(name)) return { name, description: 'made by publishing' };
  }
}

/** The history without automatic tags of before `oldestSeconds`. */
export function withoutOldTags(history: History, oldestSeconds: number): History {
  const isOld = ({ name, timestampSeconds }: Tag) =>
    AUTOMATIC_TAG.test(name) && timestampSeconds < oldestSeconds;
  return { ...history, tags: history.tags.filter((tag) => !isOld(tag)) };
}

/** The tags without those of these names. Throws NOT_FOUND, and USAGE for names that each publish maintains. */
export function historyWithout(
  history: History,
  names: readonly string[],
): { readonly kept: readonly Tag[]; readonly removed: readonly Tag[] } {
  for (const name of names) {
    if (isMaintainedTag({ name })) {
      throw new ThimbleError('USAGE', `Cannot remove tag ${name}: it is maintained by each publish`);
    }
    findTag(history, name);
  }
  const isNamed = ({ name }: Tag) => names.includes(name);
  return { kept: history.tags.filter((tag) => !isNamed(tag)), removed: history.tags.filter(isNamed) };
}

function trunkOf(head: TagHead): Tag {
  return { ...head, name: TRUNK, description: 'current HEAD', branch: '' };
}

/** Throws USAGE for a name that cannot be one, CONFLICT for one that is taken. */
export function checkNewTag(history: History, name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._+:@-]{0,254}$/.test(name)) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(name)} as a tag`, {
      hint: 'letters, digits and . _ + : @ -, starting with a letter or digit',
    });
  }
  if (isMaintainedTag({ name })) {
    throw new ThimbleError('USAGE', `Cannot use ${name} as a tag: it is maintained by each publish`);
  }
  const existing = history.tags.find((tag) => tag.name === name);
  if (existing === undefined) return;
  throw new ThimbleError(
    'CONFLICT',
    `Cannot add tag ${name}: it is the name of revision ${existing.revision}`,
    {
      hint: 'tags are promises to users; choose another name',
    },
  );
}

export function encodeHistory(
  { fqrn, previousRevision, tags, branches }: History,
  temporary: string,
): Uint8Array {
  const bytes = encodeDatabase(temporary, (database) => {
    database.exec(`
      CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
      CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER,
        CONSTRAINT pk_branch PRIMARY KEY (branch), FOREIGN KEY (parent) REFERENCES branches (branch));
      CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
        description TEXT, size INTEGER, branch TEXT, CONSTRAINT pk_tags PRIMARY KEY (name),
        FOREIGN KEY (branch) REFERENCES branches (branch));
      CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash));
      INSERT INTO properties VALUES ('schema', '1.0'), ('schema_revision', '3');
    `);
    const branch = database.prepare('INSERT INTO branches VALUES (?, ?, ?)');
    for (const { name, parent, initialRevision } of branches)
      branch.run(name, parent ?? null, initialRevision);
    const property = database.prepare('INSERT INTO properties VALUES (?, ?)');
    property.run('fqrn', fqrn);
    // The tools of the reference stop at a history without it.
    property.run('previous_revision', previousRevision ?? NULL_HASH);
    const insert = database.prepare('INSERT INTO tags VALUES (?, ?, ?, ?, 0, ?, ?, ?)');
    for (const tag of [...tags].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      insert.run(
        tag.name,
        tag.rootCatalog,
        tag.revision,
        tag.timestampSeconds,
        tag.description,
        tag.rootCatalogSizeBytes,
        tag.branch,
      );
    }
  });
  decodeHistory(bytes);
  return bytes;
}
