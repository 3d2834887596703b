/** Thimble's own configuration: `client.yaml` and `client.d/*.yaml` (docs/manual/configuration.md#our-own-files). */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Document, isMap, isNode, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn } from '../core/fqrn.ts';
import { nodeFiles } from './cvmfs-files.ts';
import type { Layer, Setting } from './layers.ts';
import { nearestName } from './nearest-name.ts';
import type { Kind } from './setting-kinds.ts';
import { rowOf, SETTING_NAMES, type SettingName } from './setting-table.ts';

/** What one section of one file says. */
interface Section {
  readonly layer: Layer;
  /** `undefined`: for all repositories. */
  readonly domain: string | undefined;
  readonly repository: string | undefined;
}

export interface OwnFiles {
  /** For this repository, weakest first: what is for all, for its domain, for itself; of each, files in their order. */
  readonly layers: readonly Layer[];
  readonly files: readonly string[];
  readonly errors: readonly ThimbleError[];
}

/** Reads all files of the folders. What is wrong with them is in `errors`, with file, line and key. */
export function readOwnFiles(fqrn: Fqrn | undefined, folders: readonly string[]): OwnFiles {
  const errors: ThimbleError[] = [];
  const sections: Section[] = [];
  const files = folders.flatMap(filesIn);
  for (const path of files) {
    try {
      const read = nodeFiles.read(path);
      if (read !== undefined) sections.push(...parseOwnFile(read.text, path, fqrn ?? ANY_NAME, errors));
    } catch (error) {
      if (!(error instanceof ThimbleError)) throw error;
      errors.push(error);
    }
  }
  const domain = fqrn?.slice(fqrn.indexOf('.') + 1);
  const layers = [
    ...sections.filter((one) => one.domain === undefined && one.repository === undefined),
    ...sections.filter((one) => one.domain !== undefined && one.domain === domain),
    ...sections.filter((one) => one.repository !== undefined && one.repository === fqrn),
  ].map(({ layer }) => layer);
  return { layers, files, errors };
}

function filesIn(folder: string): string[] {
  let more: string[] = [];
  try {
    more = readdirSync(join(folder, 'client.d')).filter((name) => name.endsWith('.yaml'));
  } catch {
    // No folder means no files.
  }
  const paths = [join(folder, 'client.yaml'), ...more.sort().map((name) => join(folder, 'client.d', name))];
  return paths.filter((path) => nodeFiles.isFile(path));
}

/** All sections of a file that can be used; why others cannot goes to `errors`. */
export function parseOwnFile(text: string, path: string, fqrn: Fqrn, errors: ThimbleError[]): Section[] {
  const lines = new LineCounter();
  const wrong = (message: string) => {
    errors.push(new ThimbleError('FORMAT', message));
    return [];
  };
  let document: Document.Parsed;
  let value: unknown;
  try {
    document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
    const [problem] = document.errors;
    if (problem !== undefined) {
      const [what = ''] = problem.message.split(/ at line |\n/);
      return wrong(`Cannot read ${path} line ${lines.linePos(problem.pos[0]).line}: ${what}`);
    }
    value = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    // Too many aliases, or nested too deeply.
    return wrong(`Cannot read ${path}: ${messageOf(error)}`);
  }
  const lineOf = (keys: readonly PropertyKey[]) => lines.linePos(offsetOf(document, keys)).line;
  const result = fileSchema().safeParse(value);
  if (!result.success) {
    for (const issue of result.error.issues) errors.push(...issueErrors(issue, path, lineOf));
    return [];
  }
  return sectionsOf(result.data, path, fqrn, lineOf);
}

type Groups = Readonly<Record<string, Readonly<Record<string, string | undefined>> | undefined>>;
type LineOf = (keys: readonly PropertyKey[]) => number;

function sectionsOf(contents: FileContents, path: string, fqrn: Fqrn, lineOf: LineOf): Section[] {
  const { domains, repositories, ...groups } = contents;
  const layerOf = (settings: Groups | null, at: readonly string[]): Layer => {
    const layer = new Map<SettingName, Setting>();
    for (const name of SETTING_NAMES) {
      const [group = '', key = ''] = name.split('.');
      const text = settings?.[group]?.[key];
      if (text === undefined) continue;
      const where = `${path}:${lineOf([...at, group, key])}`;
      layer.set(name, { value: rowOf(name).kind.parse(text, fqrn), origin: { kind: 'file', where } });
    }
    return layer;
  };
  return [
    { layer: layerOf(groups as Groups, []), domain: undefined, repository: undefined },
    ...Object.entries(domains ?? {}).map(([domain, settings]) => ({
      layer: layerOf(settings, ['domains', domain]),
      domain,
      repository: undefined,
    })),
    ...Object.entries(repositories ?? {}).map(([repository, settings]) => ({
      layer: layerOf(settings, ['repositories', repository]),
      domain: undefined,
      repository,
    })),
  ];
}

// ---- schema ----

type FileContents = Readonly<Record<string, unknown>> & {
  readonly domains?: Readonly<Record<string, Groups | null>> | null;
  readonly repositories?: Readonly<Record<string, Groups | null>> | null;
};

/** Stands in where a value is only looked at, for `@fqrn@`. */
const ANY_NAME = 'name.example.org' as Fqrn;

function valueSchema(kind: Kind<unknown>): z.ZodType<string> {
  const scalar = z.union([z.string(), z.number(), z.boolean()], { error: 'it has to be one value' });
  const texts = z.array(scalar, { error: 'it has to be a list' });
  const raw =
    kind.yaml === 'list'
      ? z.union([scalar, texts], { error: 'it has to be a value or a list of them' })
      : kind.yaml === 'map'
        ? z.record(z.string(), scalar, { error: 'it has to be names with values' })
        : scalar;
  return raw
    .transform((value) => textOf(value, kind.separator ?? ','))
    .superRefine((text, context) => {
      try {
        kind.parse(text, ANY_NAME);
      } catch (error) {
        context.addIssue({ code: 'custom', message: messageOf(error) });
      }
    });
}

function textOf(value: unknown, separator: string): string {
  if (Array.isArray(value)) return value.join(separator);
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, text]) => `${name}=${text}`)
    .join(separator);
}

let schema: z.ZodType<FileContents> | undefined;

/** Made when the first file is there: most mounts have none. */
function fileSchema(): z.ZodType<FileContents> {
  if (schema !== undefined) return schema;
  const groups: Record<string, Record<string, z.ZodType>> = {};
  for (const name of SETTING_NAMES) {
    const [group = '', key = ''] = name.split('.');
    groups[group] = { ...groups[group], [key]: valueSchema(rowOf(name).kind).optional() };
  }
  const shape = Object.fromEntries(
    Object.entries(groups).map(([group, keys]) => [group, z.strictObject(keys).nullish()]),
  );
  const inner = z.strictObject(shape).nullish();
  schema = z.strictObject({
    ...shape,
    domains: z.record(z.string().regex(/^[\w.-]+$/, 'it is no domain'), inner).nullish(),
    repositories: z.record(z.string().refine(isFqrn, 'it is no name of a repository'), inner).nullish(),
  }) as unknown as z.ZodType<FileContents>;
  return schema;
}

function knownKeys(at: readonly PropertyKey[]): string[] {
  const isInside = at[0] === 'domains' || at[0] === 'repositories';
  const inner = isInside ? at.slice(2) : at;
  const parts = SETTING_NAMES.map((name) => name.split('.'));
  if (inner.length > 0) return parts.filter(([group]) => group === inner[0]).map(([, key = '']) => key);
  const groups = [...new Set(parts.map(([group = '']) => group))];
  return isInside ? groups : [...groups, 'domains', 'repositories'];
}

function issueErrors(issue: z.core.$ZodIssue, path: string, lineOf: LineOf): ThimbleError[] {
  if (issue.code !== 'unrecognized_keys') {
    const key = issue.path.join('.');
    const what = key === '' ? 'it has to be groups of settings' : `${key}: ${issue.message}`;
    return [new ThimbleError('FORMAT', `Cannot use ${path} line ${lineOf(issue.path)}: ${what}`)];
  }
  const known = knownKeys(issue.path);
  return issue.keys.map((key) => {
    const full = [...issue.path, key];
    const nearest = nearestName(key, known);
    return new ThimbleError(
      'FORMAT',
      `Cannot use ${path} line ${lineOf(full)}: there is no setting "${full.join('.')}"`,
      {
        hint: nearest === undefined ? `known here: ${known.join(', ')}` : `did you mean "${nearest}"?`,
      },
    );
  });
}

/** Where the key of a value begins in the text; where the nearest thing around it does. */
function offsetOf(document: Document.Parsed, keys: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const key of keys) {
    if (!isMap(node)) break;
    const pair = node.items.find((item) => String(item.key) === String(key));
    if (pair === undefined) break;
    if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
    node = pair.value;
  }
  return offset;
}
