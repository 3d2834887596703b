import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { findProfile, loadProfiles } from '../../client/profile/find-profile.ts';
import { parseAccessLog, parseRecording, type Recording } from '../../client/profile/recording.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Profile } from '../../core/profile-index.ts';
import { publishProfile, removeProfiles } from '../../publish/profiles.ts';
import { publisherPorts, publishTarget } from '../publisher-ports.ts';
import { withRepository } from '../read-repository.ts';
import { addAddressOptions } from '../reader-options.ts';
import type { AddressOptions } from '../settings.ts';
import {
  formatBytes,
  formatCount,
  formatTime,
  type GlobalOptions,
  printResult,
  withProgress,
} from '../terminal.ts';

type ReadOptions = AddressOptions & GlobalOptions;
type PublishOptions = GlobalOptions & { readonly fromAccessLog?: string };

export function configure(profile: Command): void {
  profile
    .helpCommand(false)
    .addHelpText(
      'after',
      '\nA profile is a list of objects in the order in which a workload or a boot reads them, with packs that hold them side by side.\nA mount with --profile streams them ahead.\n\nExample:\n  thimble record /mnt/os --output build.rec -- make -C /mnt/os/src\n  thimble profile publish os.example.org build build.rec',
    );
  profile
    .command('publish <fqrn> <name> [recording]')
    .summary('make a profile of a recording, or of the access log of a server')
    .option(
      '--from-access-log <file>',
      'of what the clients of a web server asked for, in place of a recording',
    )
    .addHelpText(
      'after',
      '\nRevision and tree stay as they are. The same name again replaces the profile.\n\nExamples:\n  thimble profile publish os.example.org build build.rec\n  thimble profile publish os.example.org boot --from-access-log access.log',
    )
    .action(async (fqrn: string, name: string, recording: string | undefined, _: unknown, command: Command) =>
      publish(fqrn, name, recording, command.optsWithGlobals()),
    );
  addAddressOptions(profile.command('list <source>'))
    .summary('list the profiles of a repository')
    .addHelpText('after', '\nExample:\n  thimble profile list os.example.org')
    .action(async (source: string, _: unknown, command: Command) => list(source, command.optsWithGlobals()));
  addAddressOptions(profile.command('show <source> <name>'))
    .summary('show all that is known of one')
    .addHelpText('after', '\nExample:\n  thimble profile show os.example.org boot --json')
    .action(async (source: string, name: string, _: unknown, command: Command) =>
      show(source, name, command.optsWithGlobals()),
    );
  profile
    .command('remove <fqrn> <names...>')
    .summary('take profiles away; a garbage collection deletes their packs')
    .addHelpText('after', '\nExample:\n  thimble profile remove os.example.org build')
    .action(async (fqrn: string, names: string[], _: unknown, command: Command) =>
      remove(fqrn, names, command.optsWithGlobals()),
    );
}

async function publish(
  fqrn: string,
  name: string,
  file: string | undefined,
  options: PublishOptions,
): Promise<void> {
  const recording = readRecording(fqrn, file, options.fromAccessLog);
  const target = publishTarget(fqrn, options);
  const published = await withProgress(
    `Pack profile ${name}`,
    (progress) =>
      publishProfile(target, publisherPorts, { name, recording }, (packed) =>
        progress.update(() => `${formatCount(packed)} objects`),
      ),
    ({ profile }) => describe(profile),
  );
  const { profile, leftOut, replaced } = published;
  const left = leftOut === 0 ? '' : `; ${formatCount(leftOut)} are not in this repository, and were left out`;
  printResult(
    options,
    published,
    `${replaced ? 'Replaced' : 'Published'} profile ${name}: ${describe(profile)}${left}`,
  );
}

function readRecording(fqrn: string, file: string | undefined, accessLog: string | undefined): Recording {
  if ((file === undefined) === (accessLog === undefined)) {
    throw new ThimbleError('USAGE', 'Cannot publish a profile: name a recording, or an access log', {
      hint: 'thimble record makes recordings; --from-access-log reads what a web server has logged',
    });
  }
  return accessLog === undefined
    ? parseRecording(readText(file!))
    : parseAccessLog(readText(accessLog), fqrn);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read ${file}`, { cause: error });
  }
}

function readProfiles(source: string, options: ReadOptions) {
  return withRepository(source, options, async ({ repository }) =>
    loadProfiles(repository.objects, await repository.fetchManifest()),
  );
}

async function list(source: string, options: ReadOptions): Promise<void> {
  const { profiles } = await readProfiles(source, options);
  const lines = profiles.map(
    (profile) =>
      `${profile.name.padEnd(24)} ${String(profile.revision).padStart(6)}  ${formatTime(profile.createdSeconds)}  ${describe(profile)}`,
  );
  printResult(options, profiles, lines.join('\n') || 'There are no profiles.');
}

async function show(source: string, name: string, options: ReadOptions): Promise<void> {
  const profile = findProfile(await readProfiles(source, options), name);
  const lines = [
    `name      ${profile.name}`,
    `recorded  ${profile.rootCatalog}`,
    `published ${formatTime(profile.createdSeconds)}, revision ${profile.revision}`,
    `objects   ${formatCount(profile.objects)}`,
    `size      ${formatBytes(profile.storedBytes)}, inflated ${formatBytes(profile.sizeBytes)}`,
    `table     ${profile.table}`,
    ...profile.packs.map(({ hash, sizeBytes }) => `pack      ${hash} ${formatBytes(sizeBytes)}`),
  ];
  printResult(options, profile, lines.join('\n'));
}

async function remove(fqrn: string, names: readonly string[], options: GlobalOptions): Promise<void> {
  const removed = await removeProfiles(publishTarget(fqrn, options), publisherPorts, names);
  printResult(
    options,
    removed,
    removed.map((profile) => `Removed profile ${profile.name}: ${describe(profile)}`).join('\n'),
  );
}

function describe({ objects, storedBytes, packs }: Profile): string {
  const where = packs.length === 1 ? 'one pack' : `${packs.length} packs`;
  return `${formatCount(objects)} objects, ${formatBytes(storedBytes)} in ${where}`;
}
