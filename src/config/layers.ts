/** Layers of settings: what one place says. Later ones win. */

import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { Finding, Origin } from './client-settings.ts';
import type { CvmfsParameters } from './cvmfs-files.ts';
import { nearestName } from './nearest-name.ts';
import { environmentNameOf, rowOf, SETTING_NAMES, type SettingName } from './setting-table.ts';
import { whyUnused } from './unused-parameters.ts';

export interface Setting {
  readonly value: unknown;
  readonly origin: Origin;
}

export type Layer = ReadonlyMap<SettingName, Setting>;

/** Text of a setting, and how it was said: `--cache`, `-o cache-size`. */
export interface GivenSetting {
  readonly text: string;
  readonly where: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export function defaultLayer(): Layer {
  const origin: Origin = { kind: 'default', where: 'default' };
  return new Map(SETTING_NAMES.map((name) => [name, { value: rowOf(name).default, origin }]));
}

/** Throws USAGE with the name of the flag. */
export function flagLayer(given: ReadonlyMap<SettingName, GivenSetting>, fqrn: Fqrn): Layer {
  const layer = new Map<SettingName, Setting>();
  for (const [name, { text, where }] of given) {
    const value = reading(where, 'USAGE', () => rowOf(name).kind.parse(text, fqrn));
    layer.set(name, { value, origin: { kind: 'flag', where } });
  }
  return layer;
}

/** Throws USAGE with the name of the variable. */
export function environmentLayer(environment: Environment, fqrn: Fqrn): Layer {
  const layer = new Map<SettingName, Setting>();
  for (const name of SETTING_NAMES) {
    const where = environmentNameOf(name);
    const text = environment[where];
    if (text === undefined || text === '') continue;
    const value = reading(where, 'USAGE', () => rowOf(name).kind.parse(text, fqrn));
    layer.set(name, { value, origin: { kind: 'environment', where } });
  }
  return layer;
}

/** Variables that look like ours and are not. */
export function environmentFindings(environment: Environment): Finding[] {
  const known = SETTING_NAMES.map(environmentNameOf);
  const groups = new Set(SETTING_NAMES.map((name) => name.split('.')[0]?.toUpperCase()));
  return Object.keys(environment)
    .filter((name) => /^THIMBLE_[A-Z]+_/.test(name) && groups.has(name.split('_')[1] ?? ''))
    .filter((name) => !known.includes(name))
    .map((name) => {
      const nearest = nearestName(name, known);
      const guess = nearest === undefined ? '' : `; did you mean ${nearest}?`;
      return { severity: 'warning', where: name, message: `there is no such setting${guess}` };
    });
}

/** What the parameters of CernVM-FS say. Those that cannot be used go to `errors`, with file and line. */
export function cvmfsLayer(
  { variables }: CvmfsParameters,
  folder: string,
  fqrn: Fqrn,
  errors: ThimbleError[],
): Layer {
  const layer = new Map<SettingName, Setting>();
  for (const name of SETTING_NAMES) {
    const row = rowOf(name);
    if (row.cvmfs === undefined) continue;
    let where = '';
    const get = (parameter: string): string | undefined => {
      const variable = variables.get(parameter);
      if (variable === undefined || variable.value === '') return undefined;
      where = variable.where;
      if (variable.value !== undefined) return variable.value.trim();
      throw new ThimbleError('FORMAT', `Cannot tell ${parameter}: ${variable.why}`);
    };
    try {
      const value = row.fromCvmfs?.(get, { fqrn, folder }) ?? plainValue(name, get, fqrn);
      if (value !== undefined) layer.set(name, { value, origin: { kind: 'file', where } });
    } catch (error) {
      if (!(error instanceof ThimbleError)) throw error;
      errors.push(atPlace(error, where, 'FORMAT'));
    }
  }
  return layer;
}

function plainValue(name: SettingName, get: (parameter: string) => string | undefined, fqrn: Fqrn): unknown {
  const row = rowOf(name);
  const text = row.fromCvmfs === undefined ? get(row.cvmfs?.[0] ?? '') : undefined;
  return text === undefined ? undefined : row.kind.parse(text, fqrn);
}

/** What is in the files and does nothing here, or is of nobody. */
export function unusedFindings({ variables }: CvmfsParameters): Finding[] {
  const used = new Set(SETTING_NAMES.flatMap((name) => rowOf(name).cvmfs ?? []));
  const findings: Finding[] = [];
  for (const [name, { where }] of variables) {
    if (used.has(name)) continue;
    const why = whyUnused(name);
    if (why === '') continue;
    if (why !== undefined)
      findings.push({ severity: 'note', where, message: `${name} does nothing here: ${why}` });
    else if (name.startsWith('CVMFS_')) {
      const nearest = nearestName(name, [...used]);
      const guess = nearest === undefined ? 'symlinks alone can show it' : `did you mean ${nearest}?`;
      findings.push({
        severity: 'warning',
        where,
        message: `${name} is no parameter that is known; ${guess}`,
      });
    }
  }
  return findings;
}

const SELECTION: readonly SettingName[] = ['snapshot.rootHash', 'snapshot.tag', 'snapshot.date'];

/** The settings that count. A snapshot that one layer chooses takes the place of any other way to choose one. */
export function mergeLayers(layers: readonly Layer[]): Layer {
  const merged = new Map<SettingName, Setting>();
  for (const layer of layers) {
    const chosen = SELECTION.find((name) => layer.get(name)?.value !== undefined);
    if (chosen !== undefined) {
      for (const name of SELECTION) merged.set(name, { value: undefined, origin: DEFAULT });
    }
    for (const [name, setting] of layer) {
      if (chosen === undefined || !SELECTION.includes(name) || name === chosen) merged.set(name, setting);
    }
  }
  return merged;
}

const DEFAULT: Origin = { kind: 'default', where: 'default' };

/** `FILE:LINE: message`, so that whoever reads it finds it. */
function atPlace(error: ThimbleError, where: string, code: 'FORMAT' | 'USAGE'): ThimbleError {
  const message = where === '' ? error.message : `${where}: ${error.message}`;
  return new ThimbleError(code, message, { hint: error.hint, cause: error.cause });
}

function reading<T>(where: string, code: 'FORMAT' | 'USAGE', read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof ThimbleError) throw atPlace(error, where, code);
    throw error;
  }
}
