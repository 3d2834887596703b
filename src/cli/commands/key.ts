import { basename } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { changePassphrase } from '../../publish/change-passphrase.ts';
import { describeKeys, type KeyFileReport, type KeyReport } from '../../publish/describe-keys.ts';
import { withKeyLock } from '../../publish/key-place.ts';
import { type RotatedKey, type RotationStep, rotateKey } from '../../publish/rotate-keys.ts';
import { givenPassphrase, newPassphrase } from '../passphrase.ts';
import { keyPlace, publisherPorts } from '../publisher-ports.ts';
import { formatTime, type GlobalOptions, printResult } from '../terminal.ts';

interface RotateOptions extends GlobalOptions {
  readonly use?: boolean;
  readonly finish?: boolean;
  readonly now?: boolean;
  readonly masterKey?: string;
}

interface PassphraseOptions extends GlobalOptions {
  readonly newPassphraseFile?: string;
  readonly remove?: boolean;
}

const ROTATED: readonly RotatedKey[] = ['repository', 'master', 'ed25519'];

export function configure(key: Command): void {
  key.helpCommand(false).addHelpText('after', '\nExample:\n  thimble key show os.example.org');
  key
    .command('show <fqrn>')
    .summary('which keys are here, their fingerprints, and when the whitelist expires')
    .addHelpText('after', '\nExample:\n  thimble key show os.example.org --json')
    .action(async (name: string, _: unknown, command: Command) => show(name, command.optsWithGlobals()));
  key
    .command('rotate <fqrn> [key]')
    .summary('change the repository key (default), the master key, or the ed25519 key')
    .option('--use', 'second step: sign with the new key; clients accept both')
    .option('--finish', 'last step: clients accept the new key alone')
    .option('--now', 'do not wait until caches have forgotten what was published before the last step')
    .option('--master-key <file>', 'the master key that signs, if it is not kept with the others')
    .addHelpText(
      'after',
      [
        '\nEach step can be repeated if it was interrupted; docs/manual/keys.md explains them.\n\nExamples:',
        '  thimble key rotate os.example.org            # a new repository key; the whitelist has both',
        '  thimble key rotate os.example.org --use      # an hour later: the new one signs',
        '  thimble key rotate os.example.org --finish   # when all replicas have followed',
        '  thimble key rotate os.example.org master     # a new master key, to be given to clients first',
        '  thimble key rotate os.example.org ed25519    # also makes the first one of an older repository',
      ].join('\n'),
    )
    .action(async (name: string, which: string | undefined, _: unknown, command: Command) =>
      rotate(name, which ?? 'repository', command.optsWithGlobals()),
    );
  key
    .command('passphrase <fqrn>')
    .summary('protect the private keys by a passphrase, by another one, or by none')
    .option('--new-passphrase-file <file>', 'the new passphrase (default: asked for)')
    .option('--remove', 'protect them by none')
    .addHelpText(
      'after',
      '\nExamples:\n  thimble key passphrase os.example.org\n  thimble key passphrase os.example.org --passphrase-file old --new-passphrase-file new',
    )
    .action(async (name: string, _: unknown, command: Command) =>
      passphrase(name, command.optsWithGlobals()),
    );
}

async function show(name: string, options: GlobalOptions): Promise<void> {
  const report = await describeKeys(keyPlace(name, options), publisherPorts);
  printResult(options, report, formatReport(report));
}

function formatReport({ folder, files, whitelist }: KeyReport): string {
  const lines = [`Keys in ${folder}`];
  for (const file of files) lines.push(`  ${formatFile(file)}`);
  if (whitelist === null) return [...lines, 'There is no whitelist that can be read.'].join('\n');
  const { createdSeconds, expiresSeconds, fingerprints } = whitelist;
  lines.push(`Whitelist of ${formatTime(createdSeconds)}, expires at ${formatTime(expiresSeconds)}, lists`);
  return [...lines, ...fingerprints.map((fingerprint) => `  ${fingerprint}`)].join('\n');
}

function formatFile({
  path,
  kind,
  mode,
  problem,
  isProtected,
  fingerprint,
  isListed,
}: KeyFileReport): string {
  const notes = [
    ...(isProtected === null ? [] : [isProtected ? 'passphrase' : 'no passphrase']),
    ...(fingerprint === null ? [] : [fingerprint]),
    ...(isListed === null ? [] : [isListed ? 'on the whitelist' : 'not on the whitelist']),
    ...(problem === null ? [] : [`PROBLEM: ${problem}`]),
  ];
  return [mode, kind.padEnd(11), basename(path), ...notes].join('  ');
}

async function rotate(name: string, which: string, options: RotateOptions): Promise<void> {
  const key = ROTATED.find((one) => one === which);
  if (key === undefined) {
    throw new ThimbleError('USAGE', `Cannot rotate key ${JSON.stringify(which)}`, {
      hint: `the keys are ${ROTATED.join(', ')}`,
    });
  }
  if (options.use && options.finish) {
    throw new ThimbleError('USAGE', 'Cannot use --use and --finish together: they are two steps');
  }
  const step: RotationStep = options.use ? 'use' : options.finish ? 'finish' : 'begin';
  const place = keyPlace(name, options);
  const done: string[] = [];
  await rotateKey(place, key, step, publisherPorts, {
    masterKeyFile: options.masterKey,
    withoutWaiting: options.now,
    passphrase: givenPassphrase(options),
    onDone: (what) => done.push(what),
  });
  const next = NEXT[key][step];
  printResult(
    options,
    { fqrn: place.settings.fqrn, key, step, done, next },
    [...done, `Next: ${next}`].join('\n'),
  );
}

/** What is to be done after a step. */
const NEXT: Readonly<Record<RotatedKey, Readonly<Record<RotationStep, string>>>> = {
  repository: {
    begin: 'wait an hour, and for your replicas; then --use',
    use: 'wait an hour, and for your replicas; then --finish',
    finish: 'nothing; once whitelists with the old certificate have expired, nobody accepts its key',
  },
  master: {
    begin: 'give the new public key to all clients, beside the old one; then --use',
    use: 'take the old public key away from all clients; then --finish',
    finish: 'nothing',
  },
  ed25519: {
    begin:
      'wait an hour, and give the new public key to all clients; then, if there was one before, --finish',
    use: '--finish',
    finish: 'nothing; clients with the old key alone now refuse the repository',
  },
};

async function passphrase(name: string, options: PassphraseOptions): Promise<void> {
  if (options.remove && options.newPassphraseFile !== undefined) {
    throw new ThimbleError('USAGE', 'Cannot use --remove with --new-passphrase-file');
  }
  const place = keyPlace(name, options);
  const chosen = options.remove ? undefined : newPassphrase(options.newPassphraseFile);
  const files = await withKeyLock(place, async () => changePassphrase(place, chosen));
  const what = chosen === undefined ? 'No passphrase protects' : 'A passphrase protects';
  printResult(
    options,
    { fqrn: place.settings.fqrn, isProtected: chosen !== undefined, files },
    files.map((file) => `${what} ${file}`).join('\n'),
  );
}
