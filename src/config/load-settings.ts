/** From files, environment and flags to the settings of a mount. Order, weakest first: docs/manual/configuration.md. */

import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Selection } from '../client/repository.ts';
import { parseContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { ClientSettings, EffectiveSetting, Finding } from './client-settings.ts';
import {
  CVMFS_FOLDER,
  type CvmfsParameters,
  type CvmfsPlace,
  nodeFiles,
  readCvmfsParameters,
} from './cvmfs-files.ts';
import { defaultKeyFiles, keyFilesAt } from './key-files.ts';
import {
  cvmfsLayer,
  defaultLayer,
  type Environment,
  environmentFindings,
  environmentLayer,
  flagLayer,
  type GivenSetting,
  type Layer,
  mergeLayers,
  type Setting,
  unusedFindings,
} from './layers.ts';
import type { OwnFiles } from './own-files.ts';
import { parseDate } from './parse-date.ts';
import { clientFoldersOf, cvmfsPlaceOf, defaultCacheFolder, machineNumber } from './places.ts';
import { rowOf, SETTING_NAMES, type SettingName, type ValueOf } from './setting-table.ts';

export interface LoadOptions {
  /** `--config`. */
  readonly configFolder?: string | undefined;
  /** `--cvmfs-config`, `-o config=`. */
  readonly cvmfsConfig?: string | undefined;
  readonly environment?: Environment;
  /** What a repository that was created here is read from, and its keys: stronger than files. */
  readonly known?: { readonly address: string; readonly keyFiles: readonly string[] } | undefined;
}

/** Everything that is said of a repository, and what is wrong with how it is said. */
export interface Configuration {
  readonly fqrn: Fqrn;
  readonly layer: Layer;
  readonly parameters: CvmfsParameters;
  readonly cvmfsFolder: string;
  readonly files: readonly string[];
  readonly errors: readonly ThimbleError[];
  readonly findings: readonly Finding[];
}

/** All settings of a mount. Throws the first thing that is wrong: FORMAT and USAGE with its place, NOT_FOUND, LIMIT, STORAGE. */
export function loadClientSettings(
  fqrn: Fqrn,
  flags: ReadonlyMap<SettingName, GivenSetting>,
  options: LoadOptions = {},
): ClientSettings {
  const configuration = readConfiguration(fqrn, flags, options);
  const [error] = configuration.errors;
  if (error !== undefined) throw error;
  return settingsOf(configuration);
}

/** The same, with errors as values: for `thimble config`. */
export function readConfiguration(
  fqrn: Fqrn,
  flags: ReadonlyMap<SettingName, GivenSetting>,
  options: LoadOptions = {},
): Configuration {
  const environment = options.environment ?? process.env;
  const place = cvmfsPlaceOf(options.cvmfsConfig, environment);
  const cvmfsFolder = 'folder' in place ? place.folder : CVMFS_FOLDER;
  const parameters = readCvmfsParameters(fqrn, place, { machineNumber: machineNumber() });
  const own = readOwn(fqrn, clientFoldersOf(options.configFolder, environment));
  const errors = [...parameters.errors, ...own.errors];
  const collect = (layer: () => Layer): Layer => {
    try {
      return layer();
    } catch (error) {
      if (!(error instanceof ThimbleError)) throw error;
      errors.push(error);
      return new Map();
    }
  };
  const layer = mergeLayers([
    defaultLayer(),
    cvmfsLayer(parameters, cvmfsFolder, fqrn, errors),
    ...own.layers,
    knownLayer(options.known),
    collect(() => environmentLayer(environment, fqrn)),
    collect(() => flagLayer(flags, fqrn)),
  ]);
  return {
    fqrn,
    layer,
    parameters,
    cvmfsFolder: hasFolder(place) ? cvmfsFolder : '',
    files: [...parameters.files, ...own.files],
    errors,
    findings: [...parameters.findings, ...unusedFindings(parameters), ...environmentFindings(environment)],
  };
}

const hasFolder = (place: CvmfsPlace) => 'folder' in place || place.files.length > 0;

/** YAML and zod are loaded only where there is a file for them: that takes longer than all else here. */
function readOwn(fqrn: Fqrn, folders: readonly string[]): OwnFiles {
  const isThere = folders.some(
    (folder) => nodeFiles.isFile(join(folder, 'client.yaml')) || nodeFiles.isFolder(join(folder, 'client.d')),
  );
  if (!isThere) return { layers: [], files: [], errors: [] };
  const { readOwnFiles } = createRequire(import.meta.url)(
    './own-files.ts',
  ) as typeof import('./own-files.ts');
  return readOwnFiles(fqrn, folders);
}

function knownLayer(known: LoadOptions['known']): Layer {
  if (known === undefined) return new Map();
  const origin = { kind: 'repository', where: 'created on this machine' } as const;
  return new Map<SettingName, Setting>([
    ['servers.addresses', { value: [known.address], origin }],
    ['trust.keys', { value: known.keyFiles, origin }],
  ]);
}

/** Typed. Throws USAGE, NOT_FOUND. */
export function settingsOf(configuration: Configuration): ClientSettings {
  const { fqrn, layer, findings } = configuration;
  const get = <Name extends SettingName>(name: Name) => layer.get(name)?.value as ValueOf<Name>;
  const deadline = get('offline.deadlineSeconds');
  const cacheFolder = get('cache.folder') || defaultCacheFolder();
  const isCached = cacheFolder !== 'none';
  return {
    fqrn,
    network: networkOf(get),
    cache: {
      folder: isCached ? join(cacheFolder, 'objects') : undefined,
      limitBytes: get('cache.limit'),
      keepFreeBytes: get('cache.keepFree'),
      lowerFolders: get('cache.lowerFolders').map((folder) => join(folder, 'objects')),
    },
    keyFiles: keyFilesOf(configuration),
    blacklistFiles: blacklistFilesOf(configuration),
    selection: selectionFrom(get),
    updates: {
      follow: get('updates.follow'),
      maxTtlSeconds: get('updates.maxTtlSeconds'),
      push: get('updates.push'),
      minimumRevision: get('updates.minimumRevision'),
      allowOlder: get('updates.allowOlder'),
    },
    mount: {
      suid: get('mount.suid'),
      dev: get('mount.dev'),
      exec: get('mount.exec'),
      checkPermissions: get('mount.checkPermissions'),
      claimOwnership: get('mount.claimOwnership'),
      uidMap: get('mount.uidMap'),
      gidMap: get('mount.gidMap'),
      worldReadable: get('mount.worldReadable'),
      directIo: get('mount.directIo'),
      passthroughBytes: get('mount.passthrough'),
      magicXattrs: get('mount.magicXattrs'),
      talkSocket: get('mount.talkSocket') === 'none' ? undefined : get('mount.talkSocket'),
    },
    offline: { deadlineSeconds: deadline },
    variables: variablesOf(configuration),
    profile: get('mount.profile'),
    log: {
      file: get('log.file') ?? join(isCached ? cacheFolder : defaultCacheFolder(), 'thimble.log'),
      level: get('log.level'),
      format: get('log.format'),
    },
    effective: effectiveOf(layer),
    findings,
  };
}

type Get = <Name extends SettingName>(name: Name) => ValueOf<Name>;

const milliseconds = (seconds: number) => Math.round(seconds * 1000);
/** Never, where 0 says so. */
const millisecondsOrNever = (seconds: number) =>
  seconds === 0 ? Number.POSITIVE_INFINITY : milliseconds(seconds);

function networkOf(get: Get): ClientSettings['network'] {
  const deadline = get('offline.deadlineSeconds');
  return {
    servers: get('servers.addresses'),
    maxServers: get('servers.max'),
    geoOrder: get('servers.geoOrder'),
    proxyGroups: get('proxies.groups'),
    fallbackProxyGroups: get('proxies.fallback'),
    pacUrls: get('proxies.pacUrls'),
    shardProxies: get('proxies.shard'),
    maxAddressesPerProxy: get('proxies.maxAddresses'),
    ipFamily: get('network.ipFamily'),
    proxyTimeoutMs: milliseconds(get('proxies.timeoutSeconds')),
    directTimeoutMs: milliseconds(get('servers.timeoutSeconds')),
    lowSpeedBytesPerSecond: get('network.lowSpeedBytesPerSecond'),
    maxRetries: get('network.maxRetries'),
    backoffInitMs: milliseconds(get('network.backoffInitSeconds')),
    backoffMaxMs: milliseconds(get('network.backoffMaxSeconds')),
    proxyResetAfterMs: millisecondsOrNever(get('proxies.resetAfterSeconds')),
    hostResetAfterMs: millisecondsOrNever(get('servers.resetAfterSeconds')),
    followRedirects: get('servers.followRedirects'),
    maxConnectionsPerHost: get('network.maxConnectionsPerHost'),
    deadlineMs: deadline === 'wait' ? Number.POSITIVE_INFINITY : milliseconds(deadline),
    externalServers: get('servers.external'),
    externalProxyGroups: get('proxies.external'),
  };
}

/** Throws NOT_FOUND. */
export function keyFilesOf({ fqrn, layer, cvmfsFolder }: Configuration): string[] {
  const setting = layer.get('trust.keys') as { value: readonly string[]; origin: Setting['origin'] };
  if (setting.origin.kind === 'default') return cvmfsFolder === '' ? [] : defaultKeyFiles(cvmfsFolder, fqrn);
  return setting.value.flatMap((path) => keyFilesAt(path, fqrn));
}

function blacklistFilesOf({ layer, cvmfsFolder, parameters }: Configuration): string[] {
  const setting = layer.get('trust.blacklists') as { value: readonly string[]; origin: Setting['origin'] };
  const inFolder = (folder: string | undefined) => (folder ? [join(folder, 'blacklist')] : []);
  const given =
    setting.origin.kind === 'default' ? inFolder(cvmfsFolder).filter(nodeFiles.isFile) : setting.value;
  return [...given, ...inFolder(parameters.repositoryFolder).filter(nodeFiles.isFile)];
}

function selectionFrom(get: Get): Selection {
  const date = get('snapshot.date');
  const rootHash = get('snapshot.rootHash');
  try {
    return {
      tag: get('snapshot.tag'),
      dateSeconds: date === undefined ? undefined : parseDate(date),
      rootHash: rootHash === undefined ? undefined : parseContentHash(rootHash, 'root hash'),
    };
  } catch (error) {
    if (error instanceof ThimbleError && error.code === 'FORMAT')
      throw new ThimbleError('USAGE', error.message);
    throw error;
  }
}

/**
 * What symlinks may show: what was named for that, the name of the repository, and what files say that everybody may read.
 * Nothing of the environment, which can hold secrets.
 */
function variablesOf({ fqrn, layer, parameters }: Configuration): Record<string, string> {
  const named = layer.get('mount.variables')?.value as Readonly<Record<string, string>>;
  const variables: Record<string, string> = {};
  for (const [name, { value, isPublic }] of parameters.variables) {
    if (isPublic && value !== undefined) variables[name] = value;
  }
  return { ...variables, ...named, CVMFS_FQRN: fqrn };
}

export function effectiveOf(layer: Layer): EffectiveSetting[] {
  return SETTING_NAMES.map((name) => {
    const { value, origin } = layer.get(name) as Setting;
    return { name, value, origin, cvmfs: rowOf(name).cvmfs ?? [] };
  });
}
