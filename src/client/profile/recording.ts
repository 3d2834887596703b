/**
 * Recordings: the objects that a workload touched, each once, in the order of their first use. A text, so that it can be
 * looked at, joined and shortened with any tool; `thimble profile publish` makes a profile of it. Three lines, then one for
 * each object: its hash, with a `C` behind it for a catalog.
 */

import { type ContentHash, isContentHash } from '../../core/content-hash.ts';
import { ThimbleError } from '../../core/errors.ts';

const FIRST_LINE = 'thimble recording 1';
/** As many as fit in the table of a profile. */
export const MAX_RECORDED_OBJECTS = 2_000_000;

export interface RecordedObject {
  readonly hash: ContentHash;
  readonly isCatalog: boolean;
}

export interface Recording {
  readonly fqrn: string;
  /** What was recorded; `undefined` where only a server was asked. */
  readonly rootCatalog: ContentHash | undefined;
  readonly objects: readonly RecordedObject[];
}

export function formatRecording({ fqrn, rootCatalog, objects }: Recording): string {
  const lines = [FIRST_LINE, `repository ${fqrn}`, `root ${rootCatalog ?? '-'}`];
  for (const { hash, isCatalog } of objects) lines.push(isCatalog ? `${hash}C` : hash);
  return `${lines.join('\n')}\n`;
}

/** Throws FORMAT. */
export function parseRecording(text: string): Recording {
  const [first, repository = '', root = '', ...names] = text.trimEnd().split('\n');
  const fqrn = /^repository (\S+)$/.exec(repository)?.[1];
  const rootCatalog = /^root (\S+)$/.exec(root)?.[1];
  if (first !== FIRST_LINE || fqrn === undefined || rootCatalog === undefined) {
    throw new ThimbleError('FORMAT', 'Cannot read recording: it does not begin as one', {
      hint: 'thimble record makes one; for the log of a web server, use --from-access-log',
    });
  }
  const recorded = new RecordedNames();
  for (const [index, name] of names.entries()) {
    if (!recorded.add(name)) {
      throw new ThimbleError('FORMAT', `Cannot read recording: line ${index + 4} is no object`);
    }
  }
  if (rootCatalog !== '-' && !isContentHash(rootCatalog)) {
    throw new ThimbleError('FORMAT', 'Cannot read recording: its root is no content hash');
  }
  return { fqrn, rootCatalog: rootCatalog === '-' ? undefined : rootCatalog, objects: recorded.objects };
}

/**
 * What the clients of a web server asked it for, from its access log: that of `thimble serve`, or any in which a line has the
 * method and the path of a request.
 */
export function parseAccessLog(text: string, fqrn: string): Recording {
  const recorded = new RecordedNames();
  const prefix = `/${fqrn}/data/`;
  for (const line of text.split('\n')) {
    const at = line.indexOf(prefix);
    if (at < 0 || /\bHEAD\b/.test(line.slice(0, at))) continue;
    const path = /^([0-9a-f]{2})\/([0-9a-f]{38}(?:-rmd160|-shake128)?)([CP]?)(?=["\s?])/.exec(
      line.slice(at + prefix.length),
    );
    if (path !== null) recorded.add(`${path[1]}${path[2]}${path[3] === 'C' ? 'C' : ''}`);
  }
  return { fqrn, rootCatalog: undefined, objects: recorded.objects };
}

/** Objects in the order in which they came first. */
export class RecordedNames {
  readonly #names = new Map<string, RecordedObject>();

  get count(): number {
    return this.#names.size;
  }

  /** `name` is a line of a recording; false if it is none. Beyond `MAX_RECORDED_OBJECTS` nothing more is recorded. */
  add(name: string): boolean {
    if (this.#names.has(name) || this.#names.size === MAX_RECORDED_OBJECTS) return true;
    const isCatalog = name.endsWith('C');
    const hash = isCatalog ? name.slice(0, -1) : name;
    if (!isContentHash(hash)) return false;
    this.#names.set(name, { hash, isCatalog });
    return true;
  }

  get objects(): readonly RecordedObject[] {
    return [...this.#names.values()];
  }
}
