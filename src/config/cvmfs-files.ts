/** The configuration files of CernVM-FS: which there are for a repository, in which order they count, and what they say. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn } from '../core/fqrn.ts';
import type { Finding } from './client-settings.ts';
import { type FileSystemView, ShellEvaluation, type Variable } from './shell-evaluation.ts';
import { MAX_CONFIGURATION_CHARACTERS } from './shell-syntax.ts';

export const CVMFS_FOLDER = '/etc/cvmfs';
const DEFAULT_MOUNT_FOLDER = '/cvmfs';

/** A folder such as `/etc/cvmfs`, or files in place of it. */
export type CvmfsPlace = { readonly folder: string } | { readonly files: readonly string[] };

/** `none`, a folder that is there, or files joined by colons, as `-o config=` of the reference has them. */
export function parseCvmfsPlace(text: string): CvmfsPlace {
  if (text === 'none') return { files: [] };
  if (nodeFiles.isFolder(text)) return { folder: text };
  return { files: text.split(':').filter((path) => path !== '') };
}

export interface CvmfsParameters {
  readonly variables: ReadonlyMap<string, Variable>;
  /** Those that were there, in the order in which they were read. */
  readonly files: readonly string[];
  readonly findings: readonly Finding[];
  /** Why files could not be read to their ends. */
  readonly errors: readonly ThimbleError[];
  /** `/etc/cvmfs` of the configuration repository, if one is mounted. */
  readonly repositoryFolder: string | undefined;
}

export interface ReadCvmfsOptions {
  readonly files?: FileSystemView;
  readonly machineNumber: number;
}

/** What all files say of a repository; `undefined`: those that are for all. Files that cannot be read are in `errors`. */
export function readCvmfsParameters(
  fqrn: Fqrn | undefined,
  place: CvmfsPlace,
  options: ReadCvmfsOptions,
): CvmfsParameters {
  const reading = new Reading(options);
  if (fqrn !== undefined) reading.evaluation.set('CVMFS_FQRN', fqrn, 'the name of the repository');
  if ('files' in place) for (const path of place.files) reading.read(path, true);
  else readFolder(reading, place.folder, fqrn);
  const { variables, findings } = reading.evaluation;
  const { files, errors, repositoryFolder } = reading;
  return { variables, files, findings, errors, repositoryFolder };
}

function readFolder(reading: Reading, folder: string, fqrn: Fqrn | undefined): void {
  reading.read(join(folder, 'default.conf'));
  for (const name of names(join(folder, 'default.d'), '.conf')) reading.read(join(folder, 'default.d', name));
  const repository = reading.configRepository(fqrn);
  if (repository !== undefined) reading.read(join(repository, 'default.conf'));
  reading.read(join(folder, 'default.local'));
  if (fqrn === undefined) return;
  const domain = fqrn.slice(fqrn.indexOf('.') + 1);
  for (const [group, name] of [
    ['domain.d', domain],
    ['config.d', fqrn],
  ] as const) {
    if (repository !== undefined) reading.read(join(repository, group, `${name}.conf`));
    reading.read(join(folder, group, `${name}.conf`));
    reading.read(join(folder, group, `${name}.local`));
  }
}

class Reading {
  readonly evaluation: ShellEvaluation;
  readonly files: string[] = [];
  readonly errors: ThimbleError[] = [];
  repositoryFolder: string | undefined;
  readonly #view: FileSystemView;
  #configRepository: Variable | undefined;

  constructor({ files = nodeFiles, machineNumber }: ReadCvmfsOptions) {
    this.#view = files;
    this.evaluation = new ShellEvaluation({ files, machineNumber });
  }

  read(path: string, isRequired = false): void {
    try {
      if (this.evaluation.include(path)) this.files.push(path);
      else if (isRequired) throw new ThimbleError('NOT_FOUND', `Cannot find configuration file ${path}`);
    } catch (error) {
      if (!(error instanceof ThimbleError)) throw error;
      this.files.push(path);
      this.errors.push(error);
    }
    this.#keepConfigRepository();
  }

  /** Which one it is does not change once it was read from. */
  #keepConfigRepository(): void {
    const { variables, findings } = this.evaluation;
    const now = variables.get('CVMFS_CONFIG_REPOSITORY');
    if (this.#configRepository === undefined || (now?.value ?? '') === this.#configRepository.value) return;
    findings.push({
      severity: 'warning',
      where: now?.where ?? this.#configRepository.where,
      message: 'CVMFS_CONFIG_REPOSITORY is too late here: only default.conf and default.d/*.conf can set it',
    });
    variables.set('CVMFS_CONFIG_REPOSITORY', this.#configRepository);
  }

  /** The folder of the configuration repository, if it is mounted; looking there makes autofs mount it. */
  configRepository(fqrn: Fqrn | undefined): string | undefined {
    const { variables, findings } = this.evaluation;
    const found = variables.get('CVMFS_CONFIG_REPOSITORY');
    this.#configRepository = found ?? { value: '', why: '', where: 'default', isPublic: true };
    if (found?.value === undefined || found.value === '' || found.value === fqrn) return undefined;
    const mounts = variables.get('CVMFS_MOUNT_DIR')?.value ?? DEFAULT_MOUNT_FOLDER;
    const folder = join(mounts, found.value, 'etc/cvmfs');
    if (isFqrn(found.value) && this.#view.isFolder(folder)) {
      this.repositoryFolder = folder;
      return folder;
    }
    const required = variables.get('CVMFS_CONFIG_REPO_REQUIRED');
    const message = `the configuration repository ${found.value} is not mounted on ${mounts}`;
    if (/^(yes|on|1|true)$/i.test(required?.value ?? '')) {
      this.errors.push(
        new ThimbleError('NOT_FOUND', `Cannot read the configuration: ${message}`, {
          hint: `mount it, or take CVMFS_CONFIG_REPO_REQUIRED out of ${required?.where ?? 'the files'}`,
        }),
      );
    } else findings.push({ severity: 'note', where: found.where, message });
    return undefined;
  }
}

function names(folder: string, suffix: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(suffix))
      .sort();
  } catch {
    // No folder means no files.
    return [];
  }
}

/** The files of this machine. */
export const nodeFiles: FileSystemView = {
  read(path) {
    const found = stat(path);
    if (!found?.isFile()) return undefined;
    if (found.size > MAX_CONFIGURATION_CHARACTERS) {
      throw new ThimbleError('LIMIT', `Cannot read ${path}: it is larger than a configuration can be`);
    }
    try {
      return { text: readFileSync(path, 'utf8'), isPublic: (found.mode & 0o004) !== 0 };
    } catch (error) {
      throw new ThimbleError('STORAGE', `Cannot read ${path}`, {
        hint: 'this user may not read it; mounting needs root',
        cause: error,
      });
    }
  },
  isFile: (path) => stat(path)?.isFile() ?? false,
  isFolder: (path) => stat(path)?.isDirectory() ?? false,
};

function stat(path: string) {
  try {
    return statSync(path);
  } catch {
    // What cannot be looked at is not there, for a shell too.
    return undefined;
  }
}
