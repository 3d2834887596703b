import type { Command } from 'commander';
import type { EffectiveSetting, Finding, Origin } from '../../config/client-settings.ts';
import { configuredRepositories } from '../../config/configured-names.ts';
import { type Configuration, effectiveOf, keyFilesOf } from '../../config/load-settings.ts';
import { environmentNameOf, rowOf, type SettingName } from '../../config/setting-table.ts';
import { parseFqrn } from '../../core/fqrn.ts';
import { clientConfiguration } from '../client-settings.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { type GlobalOptions, printResult, styled } from '../terminal.ts';

interface ConfigOptions extends GlobalOptions {
  readonly cvmfsConfig?: string;
  readonly all?: boolean;
}

const CVMFS_CONFIG = [
  '--cvmfs-config <path>',
  'configuration of CernVM-FS: a folder, files, or none (default: /etc/cvmfs)',
] as const;

export function configure(config: Command): void {
  config.helpCommand(false).addHelpText('after', '\nExample:\n  thimble config show os.example.org');
  config
    .command('show [repository]')
    .summary('show the settings that a mount would have, and where they came from')
    .option('--all', 'also those that nobody has set')
    .option(...CVMFS_CONFIG)
    .addHelpText(
      'after',
      '\nExamples:\n  thimble config show os.example.org\n  thimble config show --all\n  thimble config show os.example.org --json',
    )
    .action(async (repository: string | undefined, _: unknown, command: Command) =>
      show(repository, command.optsWithGlobals()),
    );
  config
    .command('check [repositories...]')
    .summary('look for what is wrong in all files of the configuration')
    .option(...CVMFS_CONFIG)
    .addHelpText('after', '\nExamples:\n  thimble config check\n  thimble config check os.example.org --json')
    .action(async (repositories: string[], _: unknown, command: Command) =>
      check(repositories, command.optsWithGlobals()),
    );
}

interface ShownSetting extends EffectiveSetting {
  /** The variable that sets it. */
  readonly environment: string;
}

/** No file has a section for it: what is for all repositories is left. */
const NO_REPOSITORY = parseFqrn('any.invalid');

function show(repository: string | undefined, options: ConfigOptions): void {
  const configuration = configurationOf(repository, options);
  const settings: ShownSetting[] = effectiveOf(configuration.layer)
    .filter(({ origin }) => options.all || origin.kind !== 'default')
    .map((setting) => ({ ...setting, environment: environmentNameOf(setting.name as SettingName) }));
  const keys = repository === undefined ? [] : tolerant(() => keyFilesOf(configuration));
  const findings = [
    ...allFindings(configuration),
    ...(repository === undefined ? [] : missing(configuration, keys)),
  ];
  const result = {
    fqrn: repository === undefined ? null : configuration.fqrn,
    files: configuration.files,
    keyFiles: keys,
    settings: settings.map(({ value, ...rest }) => ({ ...rest, value: value ?? null })),
    findings,
  };
  const table = settings.map(({ name, value, origin, cvmfs }) => [
    name,
    formatValue(name, value),
    formatOrigin(origin),
    cvmfs[0] ?? '-',
  ]);
  const lines = [
    ...formatTable([['SETTING', 'VALUE', 'FROM', 'CERNVM-FS'], ...table]),
    ...keys.map((file) => `\nkey ${file}`),
    ...(findings.length > 0 ? ['', ...findings.map(formatFinding)] : []),
  ];
  printResult(options, result, lines.join('\n').replaceAll('\n\nkey', '\nkey'));
}

function check(repositories: readonly string[], options: ConfigOptions): void {
  const names =
    repositories.length > 0
      ? repositories
      : [undefined, ...configuredRepositories(options.config, options.cvmfsConfig)];
  const findings: Finding[] = [];
  const files = new Set<string>();
  for (const name of names) {
    const configuration = configurationOf(name, options);
    for (const file of configuration.files) files.add(file);
    const isAsked = repositories.length > 0;
    const found = [
      ...allFindings(configuration),
      ...(isAsked
        ? missing(
            configuration,
            tolerant(() => keyFilesOf(configuration)),
          )
        : []),
    ];
    for (const one of found) {
      if (!findings.some(({ where, message }) => where === one.where && message === one.message))
        findings.push(one);
    }
  }
  const wrong = findings.filter(({ severity }) => severity !== 'note');
  const summary = `${files.size} files, ${wrong.length === 0 ? 'nothing wrong' : `${wrong.length} findings`}`;
  printResult(options, { files: [...files], findings }, [...findings.map(formatFinding), summary].join('\n'));
  if (wrong.length > 0) process.exitCode = EXIT_CODES.FORMAT;
}

function configurationOf(repository: string | undefined, options: ConfigOptions): Configuration {
  return clientConfiguration(repository ?? NO_REPOSITORY, options);
}

function allFindings({ errors, findings }: Configuration): Finding[] {
  const failures = errors.map((error): Finding => {
    const where = / (\/\S+) line (\d+)/.exec(error.message);
    return {
      severity: 'error',
      where: where === null ? '' : `${where[1]}:${where[2]}`,
      message: error.hint === undefined ? error.message : `${error.message} (${error.hint})`,
    };
  });
  return [...failures, ...findings];
}

/** What a mount by name would lack. */
function missing({ fqrn, layer }: Configuration, keys: readonly string[]): Finding[] {
  const servers = layer.get('servers.addresses')?.value as readonly string[];
  const isPinned = layer.get('snapshot.rootHash')?.value !== undefined;
  const findings: Finding[] = [];
  const domain = fqrn.slice(fqrn.indexOf('.') + 1);
  if (servers.length === 0) {
    findings.push({
      severity: 'error',
      where: fqrn,
      message: `no server for ${fqrn}: set CVMFS_SERVER_URL in /etc/cvmfs/domain.d/${domain}.local, or servers.addresses in /etc/thimble/client.yaml`,
    });
  }
  if (keys.length === 0 && !isPinned) {
    findings.push({
      severity: 'error',
      where: fqrn,
      message: `no public key of ${fqrn}: put it into /etc/cvmfs/keys/${domain}, or name it in trust.keys of /etc/thimble/client.yaml`,
    });
  }
  return findings;
}

/** What cannot be found is told by what it lacks. */
function tolerant(find: () => readonly string[]): readonly string[] {
  try {
    return find();
  } catch {
    return [];
  }
}

function formatValue(name: string, value: unknown): string {
  if (value === undefined || value === '') return '-';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (value === Number.MAX_SAFE_INTEGER) return 'unlimited';
  const { separator = ' ' } = rowOf(name as SettingName).kind;
  if (Array.isArray(value)) {
    const parts = value.map((part) => (Array.isArray(part) ? part.join('|') : String(part)));
    return parts.length === 0 ? '-' : parts.join(separator);
  }
  if (typeof value !== 'object' || value === null) return String(value);
  const pairs = Object.entries(value).map(([key, text]) => `${key}=${text}`);
  return pairs.length === 0 ? '-' : pairs.join(' ');
}

function formatOrigin({ where }: Origin): string {
  return where;
}

function formatFinding({ severity, where, message }: Finding): string {
  // Messages of errors name their place themselves.
  const style = severity === 'error' ? 'red' : severity === 'warning' ? 'yellow' : 'dim';
  const prefix = where === '' || severity === 'error' ? '' : `${where}: `;
  return `${styled(style, `${severity}:`, process.stdout)} ${prefix}${message}`;
}

/** Columns as wide as their widest value; the last one as it is. */
function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === row.length - 1 ? cell : cell.padEnd(Math.min(widths[column] ?? 0, 60)),
      )
      .join('  ')
      .trimEnd(),
  );
}
