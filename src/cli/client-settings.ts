/** From a command line to the settings of a client: who is meant, what flags say, and everything that files say. */

import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ClientSettings } from '../config/client-settings.ts';
import type { GivenSetting } from '../config/layers.ts';
import {
  type Configuration,
  type LoadOptions,
  readConfiguration,
  settingsOf,
} from '../config/load-settings.ts';
import { type MountOptionList, parseMountOptions } from '../config/mount-options.ts';
import { rowOf, SETTING_NAMES, type SettingName } from '../config/setting-table.ts';
import { ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn, parseFqrn } from '../core/fqrn.ts';
import type { RepositoryAddress } from '../node/repository-access.ts';
import { collect } from './reader-options.ts';
import { type AddressOptions, knownRepository, sourceAddress, unclearSource } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

export interface ClientOptions extends GlobalOptions {
  readonly cvmfsConfig?: string;
  readonly option?: readonly string[];
}

/** Options of commands that mount: a flag for each setting that has one, `-o`, and where files are. */
export function addClientOptions(command: Command): Command {
  for (const name of SETTING_NAMES) {
    const { flag, kind, meaning } = rowOf(name);
    if (flag === undefined) continue;
    const isList = kind.separator !== undefined;
    const value =
      kind.yaml === 'boolean' ? '' : ` <${isList ? singular(kind.placeholder) : kind.placeholder}>`;
    if (isList) command.option(`--${flag}${value}`, `${meaning}; may be given again`, collect);
    else command.option(`--${flag}${value}`, meaning);
  }
  return command
    .option('-o, --option <list>', 'options of mount(8), and any setting by its name', collect)
    .option(
      '--cvmfs-config <path>',
      'configuration of CernVM-FS: a folder, files, or none (default: /etc/cvmfs)',
    );
}

/** `addresses` as `address`, `proxies` as `proxy`, `files` as `file`. */
function singular(placeholder: string): string {
  return placeholder
    .replace(/ies$/, 'y')
    .replace(/sses$/, 'ss')
    .replace(/([^s])s$/, '$1');
}

/**
 * All settings for mounting `source`: an address, a storage folder, or the name of a repository that was created here or is
 * configured. Throws USAGE, NOT_FOUND, FORMAT with file and line, LIMIT, STORAGE.
 */
export function clientSettings(source: string, options: ClientOptions): ClientSettings {
  const configuration = clientConfiguration(source, options);
  const [error] = configuration.errors;
  if (error !== undefined) throw error;
  const settings = settingsOf(configuration);
  verifyMountable(settings, configuration);
  return settings;
}

/** The same, with what is wrong as values. Throws USAGE for what names no repository. */
export function clientConfiguration(source: string, options: ClientOptions): Configuration {
  const list = parseMountOptions(options.option ?? []);
  const places = {
    configFolder: options.config,
    cvmfsConfig: options.cvmfsConfig ?? list.cvmfsConfig,
  };
  const address = sourceAddress(source);
  const fqrn = address?.fqrn ?? repositoryName(source, options, list, places);
  const known = knownRepository(fqrn, options, address?.address);
  const flags = flagsOf(options, list, address?.address, known?.address);
  return readConfiguration(fqrn, flags, { ...places, known });
}

type Flags = ReadonlyMap<SettingName, GivenSetting>;

/** `os` is `os.example.org` where that is the default domain. Throws USAGE. */
function repositoryName(
  name: string,
  options: ClientOptions,
  list: MountOptionList,
  places: LoadOptions,
): Fqrn {
  if (isFqrn(name)) return parseFqrn(name);
  const flags = flagsOf(options, list, undefined, undefined);
  // No section of any file is for this name.
  const { layer } = readConfiguration('any.invalid' as Fqrn, flags, places);
  const domain = layer.get('mount.defaultDomain')?.value;
  const full = domain ? `${name}.${domain}` : name;
  if (isFqrn(full)) return parseFqrn(full);
  throw unclearSource(name);
}

/** What commands read of a repository that they do not mount. Throws as `clientSettings` does. */
export function resolveAddress(
  source: string,
  options: AddressOptions,
  global: GlobalOptions,
): RepositoryAddress {
  return addressOf(clientSettings(source, { ...options, ...global }));
}

export function addressOf({ fqrn, network, keyFiles, blacklistFiles }: ClientSettings): RepositoryAddress {
  return {
    fqrn,
    servers: network.servers,
    proxies: network.proxyGroups.flat(),
    keyFiles,
    externalServers: network.externalServers,
    blacklistFiles,
  };
}

/** Flags win over `-o`. An address that is mounted, or that of a repository made here, comes before servers that flags name. */
function flagsOf(
  options: ClientOptions,
  list: MountOptionList,
  address: string | undefined,
  known: string | undefined,
): Flags {
  const flags = new Map<SettingName, GivenSetting>();
  const values = options as unknown as Readonly<Record<string, unknown>>;
  for (const name of SETTING_NAMES) {
    const { flag, kind } = rowOf(name);
    const given = list.settings.get(name);
    if (given !== undefined) flags.set(name, { ...given, text: fullPath(kind.isPath, given.text) });
    const value = flag === undefined ? undefined : values[camelCase(flag)];
    if (value === undefined) continue;
    const texts = (Array.isArray(value) ? value : [value]).map((one) => fullPath(kind.isPath, String(one)));
    flags.set(name, { text: texts.join(kind.separator ?? ','), where: `--${flag}` });
  }
  verifyOneSnapshot(flags);
  const others = flags.get('servers.addresses');
  const first = address ?? (others === undefined ? undefined : known);
  if (first !== undefined) {
    const text = `${first};${others?.text ?? ''}`;
    flags.set('servers.addresses', { text, where: others?.where ?? 'the address that is mounted' });
  }
  return flags;
}

/** Flags say where something is from where they are said. */
function fullPath(isPath: boolean | undefined, text: string): string {
  return isPath !== true || text === 'none' ? text : resolve(text);
}

function camelCase(flag: string): string {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function verifyOneSnapshot(flags: Flags): void {
  const names: readonly SettingName[] = ['snapshot.tag', 'snapshot.date', 'snapshot.rootHash'];
  if (names.filter((name) => flags.has(name)).length < 2) return;
  throw new ThimbleError(
    'USAGE',
    'Cannot use more than one of --tag, --date and --root-hash: each names a snapshot',
  );
}

/** Throws NOT_FOUND where nothing can be mounted, USAGE where it may not. */
function verifyMountable({ fqrn, network }: ClientSettings, { layer }: Configuration): void {
  if (network.servers.length === 0) {
    throw new ThimbleError(
      'NOT_FOUND',
      `Cannot find repository ${fqrn}: it was not created here, and no server is configured for it`,
      { hint: `give its address, or --server; see what is configured with: thimble config show ${fqrn}` },
    );
  }
  const addresses = layer.get('servers.addresses');
  const allowed = layer.get('mount.repositories')?.value as readonly string[];
  const domain = layer.get('mount.defaultDomain')?.value;
  const isNamed = addresses?.origin.kind === 'file' || addresses?.origin.kind === 'environment';
  if (!isNamed || layer.get('mount.strict')?.value !== true) return;
  if (allowed.some((name) => name === fqrn || `${name}.${domain}` === fqrn)) return;
  throw new ThimbleError('USAGE', `Cannot mount ${fqrn}: it is not among those that may be`, {
    hint: `${layer.get('mount.strict')?.origin.where} asks for this; add it to mount.repositories`,
  });
}
