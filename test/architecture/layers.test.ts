import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Layer {
  /** Layers, or files of a layer, that may be imported. */
  readonly may: readonly string[];
  /** Packages and Node's own modules; `*` for any. */
  readonly packages: readonly string[];
  /** Printed with a violation. */
  readonly why: string;
}

const PORTABLE = 'it also has to run on a small engine in the virtual machine, which has none of that';
const BUILDER = 'builders meet in core/tree.ts and published snapshots, not in each other';

/** docs/architecture.md has the same table in words. */
const LAYERS: Readonly<Record<string, Layer>> = {
  core: { may: [], packages: [], why: PORTABLE },
  archive: { may: ['core'], packages: [], why: PORTABLE },
  fuse: { may: ['core'], packages: [], why: 'the kernel protocol knows nothing of repositories' },
  client: { may: ['core'], packages: [], why: PORTABLE },
  guest: { may: ['core', 'client', 'fuse', 'archive'], packages: [], why: PORTABLE },
  node: {
    may: ['core', 'client', 'fuse', 'guest/system.ts'],
    packages: ['*'],
    why: 'it implements ports for this engine, and has no opinion on what is done with them',
  },
  config: {
    may: ['core', 'client', 'node'],
    packages: ['*'],
    why: 'it tells what a reader is to do, and does none of it',
  },
  mount: {
    may: ['core', 'client', 'fuse', 'node', 'config'],
    packages: ['*'],
    why: 'it serves mounts and tells about them, and knows no publisher',
  },
  storage: {
    may: ['core', 'node'],
    packages: ['*'],
    why: 'it keeps files, and has no opinion on who writes them',
  },
  publish: { may: ['core', 'archive', 'client', 'node', 'storage'], packages: ['*'], why: BUILDER },
  replicate: { may: ['core', 'client', 'node', 'storage'], packages: ['*'], why: BUILDER },
  export: { may: ['core', 'archive', 'client', 'node'], packages: ['*'], why: BUILDER },
  osrepo: { may: ['core', 'archive', 'client', 'node'], packages: ['*'], why: BUILDER },
  image: { may: ['core', 'archive', 'client', 'node'], packages: ['*'], why: BUILDER },
  // The marker of a blank disk is the guest's word.
  vm: { may: ['core', 'archive', 'client', 'node', 'guest/scratch-disk.ts'], packages: ['*'], why: BUILDER },
  server: { may: ['core', 'client'], packages: ['*'], why: 'it serves files and knows no publisher' },
  cli: {
    may: [
      ...['core', 'archive', 'client', 'fuse', 'guest', 'node', 'storage', 'publish', 'replicate', 'export'],
      ...['osrepo', 'image', 'vm', 'server', 'config', 'mount'],
    ],
    packages: ['*'],
    why: 'it wires everything',
  },
};

/** `guest/main.ts` wires ports to logic, as the command line does. */
const WIRING = 'src/guest/main.ts';

interface Import {
  readonly from: string;
  readonly target: string;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const found = text.matchAll(
    /^\s*(?:import|export)\b[^;'"]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm,
  );
  return [...found].map((match) => ({ from: file, target: (match[1] ?? match[2] ?? match[3])! }));
}

/** `undefined` if the import is allowed, else what is wrong with it. */
function complaint({ from, target }: Import): string | undefined {
  const layer = from.split('/')[1]!;
  const rules = LAYERS[layer];
  if (rules === undefined) return `${from}: there is no layer ${layer}; add it to the table`;
  if (!target.startsWith('.')) {
    const isAllowed = rules.packages.includes('*') || rules.packages.includes(target);
    return isAllowed ? undefined : `${from} may not import ${target}: ${rules.why}`;
  }
  const path = relative(join(ROOT, 'src'), join(ROOT, dirname(from), target));
  const other = path.split('/')[0]!;
  if (other === layer || rules.may.includes(other) || rules.may.includes(path)) return undefined;
  return `${from} may not import ${path}: ${rules.why}`;
}

describe('layers', () => {
  const files = globSync('src/**/*.ts', { cwd: ROOT }).filter((file) => !file.endsWith('.test.ts'));

  test('every import goes where the table lets it', () => {
    const imports = files.filter((file) => file !== WIRING).flatMap(importsOf);
    assert.ok(imports.length > 300, 'the pattern finds the imports');
    assert.deepEqual(
      imports.map(complaint).filter((text) => text !== undefined),
      [],
    );
  });

  test('a wrong import is found, with the reason', () => {
    const wrong = complaint({ from: 'src/core/errors.ts', target: 'node:fs' });
    assert.match(
      wrong ?? '',
      /src\/core\/errors\.ts may not import node:fs: it also has to run on a small engine/,
    );
    const sideways = complaint({ from: 'src/image/iso.ts', target: '../publish/publisher.ts' });
    assert.match(sideways ?? '', /may not import publish\/publisher\.ts: builders meet in/);
  });

  test('sources and tests are no longer than 500 lines', () => {
    const all = globSync(['src/**/*.ts', 'test/**/*.ts'], { cwd: ROOT });
    const long = all.filter((file) => readFileSync(join(ROOT, file), 'utf8').split('\n').length > 501);
    assert.deepEqual(long, []);
  });
});

describe('documents', () => {
  test('every section of a document that sources refer to exists', () => {
    const sources = globSync('{src,test,bench,scripts}/**/*.ts', { cwd: ROOT });
    const missing: string[] = [];
    for (const source of sources) {
      const text = readFileSync(join(ROOT, source), 'utf8');
      for (const [, path = '', anchor] of text.matchAll(/\b(docs\/[\w/.-]+\.md)(?:#([\w-]+))?/g)) {
        if (!sectionExists(path, anchor)) missing.push(`${source}: ${path}#${anchor ?? ''}`);
      }
    }
    assert.deepEqual(missing, []);
  });

  test('every relative link in a document leads somewhere', () => {
    const missing: string[] = [];
    for (const file of globSync('{*.md,docs/**/*.md}', { cwd: ROOT })) {
      const text = readFileSync(join(ROOT, file), 'utf8');
      for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const [path = '', anchor] = target.split('#');
        const from = path === '' ? file : join(dirname(file), path);
        if (!sectionExists(from, anchor)) missing.push(`${file}: ${target}`);
      }
    }
    assert.deepEqual(missing, []);
  });
});

function sectionExists(path: string, anchor: string | undefined): boolean {
  if (globSync(path, { cwd: ROOT }).length === 0) return false;
  if (anchor === undefined) return true;
  const headings = readFileSync(join(ROOT, path), 'utf8').matchAll(/^#+ (.*)$/gm);
  // As web pages of repositories make anchors from headings.
  return [...headings].some(
    ([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\w\s-]/g, '')
        .replace(/\s/g, '-') === anchor,
  );
}
