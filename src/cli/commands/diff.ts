import type { Command } from 'commander';
import { type Difference, type DiffSummary, diffSnapshots } from '../../client/diff.ts';
import type { MountedSnapshot } from '../../client/mounted-snapshot.ts';
import type { Repository, Snapshot } from '../../client/repository.ts';
import { isContentHash } from '../../core/content-hash.ts';
import { TRUNK } from '../../core/history.ts';
import { formatDifference, formatDiffSummary, jsonDifference } from '../format-diff.ts';
import { openSnapshot, withRepository } from '../read-repository.ts';
import { addAddressOptions, symlinkVariables } from '../reader-options.ts';
import type { AddressOptions } from '../settings.ts';
import { type GlobalOptions, printParts } from '../terminal.ts';

type DiffOptions = AddressOptions & GlobalOptions;

export function configure(command: Command): void {
  addAddressOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .argument('<from>', 'a tag, or a root hash')
    .argument('[to]', 'a tag, or a root hash', TRUNK)
    .addHelpText(
      'after',
      `
One line a path: + added, - removed, M changed, with what has changed: type, content, target, device, mode, owner,
mtime, xattrs, links.

The last line says how many bytes of content are new: pieces of added and changed files that the compared folders of
the older snapshot do not have, each counted once, before compression. A client that has read all of the older one
downloads that much at most, compressed, to read all of the newer one, and the changed catalogs. Folders whose catalog
is the same are not looked into: what was copied from there is counted as new.

Examples:
  thimble diff os.example.org v1
  thimble diff http://host:8000/cvmfs/os.example.org v1 v2 --key os.example.org.pub --json`,
    )
    .action(async (source: string, from: string, to: string, _: unknown, self: Command) =>
      diff(source, from, to, self.optsWithGlobals()),
    );
}

async function diff(source: string, from: string, to: string, options: DiffOptions): Promise<void> {
  await withRepository(source, options, async (access) => {
    const { repository } = access;
    const open = async (name: string) =>
      openSnapshot(access, await resolveName(repository, name), symlinkVariables({}, repository.fqrn));
    const [before, after] = await Promise.all([open(from), open(to)]);
    const parts = options.json ? jsonParts(repository.fqrn, before, after) : textParts(before, after);
    await printParts(parts);
  });
}

/** `trunk` is what is published now, also where nothing has a name. */
function resolveName(repository: Repository, name: string): Promise<Snapshot> {
  if (name === TRUNK) return repository.resolve({});
  return repository.resolve(isContentHash(name) ? { rootHash: name } : { tag: name });
}

async function* textParts(from: MountedSnapshot, to: MountedSnapshot): AsyncGenerator<string> {
  const summary = yield* mapped(diffSnapshots(from, to), (difference) => `${formatDifference(difference)}\n`);
  yield `${formatDiffSummary(summary)}\n`;
}

async function* jsonParts(fqrn: string, from: MountedSnapshot, to: MountedSnapshot): AsyncGenerator<string> {
  const head = { fqrn, from: headOf(from), to: headOf(to) };
  yield `${JSON.stringify(head).slice(0, -1)},"differences":[\n`;
  const describe = jsonDifference(from, to);
  let separator = '';
  const summary = yield* mapped(diffSnapshots(from, to), (difference) => {
    const text = `${separator}${JSON.stringify(describe(difference))}`;
    separator = ',\n';
    return text;
  });
  yield `\n],"summary":${JSON.stringify(summary)}}\n`;
}

function headOf({ snapshot: { rootCatalog, revision, tag } }: MountedSnapshot): object {
  return { root_hash: rootCatalog, revision, tag };
}

async function* mapped(
  differences: AsyncGenerator<Difference, DiffSummary>,
  format: (difference: Difference) => string,
): AsyncGenerator<string, DiffSummary> {
  for (;;) {
    const next = await differences.next();
    if (next.done) return next.value;
    yield format(next.value);
  }
}
