/** Writes the tag database: a small SQLite file (docs/format.md#history). */

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

/** Adds the newest revision to the tags: `trunk` moves to it, `trunk-previous` to the one before. */
export function historyWithRevision(
  history: History,
  head: TagHead,
  tag: { readonly name: string; readonly description: string } | undefined,
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
  fqrn: string,
  tags: readonly Tag[],
  previousRevision: string | undefined,
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
      INSERT INTO branches VALUES ('', NULL, 0);
      INSERT INTO properties VALUES ('schema', '1.0'), ('schema_revision', '3');
    `);
    const property = database.prepare('INSERT INTO properties VALUES (?, ?)');
    property.run('fqrn', fqrn);
    if (previousRevision !== undefined) property.run('previous_revision', previousRevision);
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
