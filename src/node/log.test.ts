import assert from 'node:assert/strict';
import {
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import {
  formatLine,
  isJournal,
  type LogFormat,
  type LogLevel,
  lineLog,
  ProcessLog,
  rotatingFile,
} from './log.ts';

function linesOf(least: LogLevel, action: (log: ReturnType<typeof lineLog>) => void): string[] {
  const lines: string[] = [];
  action(lineLog((line) => lines.push(line), least));
  return lines;
}

test('lineLog() writes one line with time, level, message and fields', () => {
  const [line] = linesOf('debug', (log) =>
    log.warn('fetch failed', { path: '.cvmfspublished', round: 2, isLast: true, nothing: undefined }),
  );
  assert.match(
    line!,
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warn fetch failed path=\.cvmfspublished round=2 isLast=true\n$/,
  );
});

test('lineLog() quotes fields that would not stay one word', () => {
  const values = { spaces: 'a b', lines: 'a\nb level=error', quote: 'say "x"', empty: '', other: 'ü' };
  const [line] = linesOf('debug', (log) => log.info('x', values));
  assert.equal(line!.split('\n').length, 2);
  assert.ok(
    line!.endsWith('spaces="a b" lines="a\\nb level=error" quote="say \\"x\\"" empty="" other="ü"\n'),
    line,
  );
});

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
for (const [i, least] of LEVELS.entries()) {
  test(`lineLog() from ${least} on writes nothing less`, () => {
    const lines = linesOf(least, (log) => {
      for (const level of LEVELS) log[level](level);
    });
    assert.deepEqual(
      lines.map((line) => line.trim().split(' ')[1]),
      LEVELS.slice(i),
    );
  });
}

const ENTRY = {
  seconds: 1_700_000_000,
  level: 'warn',
  message: 'fetch failed',
  fields: { path: 'a b' },
} as const;

test('formatLine() writes JSON with one object a line', () => {
  const line = formatLine('json', ENTRY);
  assert.deepEqual(JSON.parse(line), {
    time: '2023-11-14T22:13:20Z',
    level: 'warn',
    message: 'fetch failed',
    path: 'a b',
  });
  assert.equal(line.indexOf('\n'), line.length - 1);
});

test('formatLine() gives the journal a priority, and leaves the time to it', () => {
  assert.equal(formatLine('journal', ENTRY), '<4>fetch failed path="a b"\n');
});

function processLog(format: LogFormat = 'text') {
  const lines: string[] = [];
  const clock = new ManualClock();
  const log = new ProcessLog({ write: (line) => lines.push(line), level: 'info', format, clock });
  return { lines, clock, log };
}

test('a repeated message is written ten times in ten seconds, and then counted', () => {
  const { lines, clock, log } = processLog();
  for (let i = 0; i < 5000; i++) log.warn('fetch failed', { path: `data/${i}` });
  assert.equal(lines.length, 10);
  clock.advance(10_000);
  assert.equal(lines.length, 11);
  assert.match(lines[10]!, /warn fetch failed path=data\/4999 repeated=4990\n$/);
  assert.equal(log.counters.warn, 5000);
  log.warn('fetch failed');
  assert.equal(lines.length, 12);
});

test('other messages are written while one is counted', () => {
  const { lines, log } = processLog();
  for (let i = 0; i < 100; i++) log.warn('fetch failed');
  log.error('fetch failed');
  log.warn('cache is full');
  assert.deepEqual(
    lines.slice(10).map((line) => line.split(' ').slice(1).join(' ')),
    ['error fetch failed\n', 'warn cache is full\n'],
  );
});

test('flush() writes what was counted, and leaves no timer behind', () => {
  const { lines, clock, log } = processLog();
  for (let i = 0; i < 12; i++) log.info('mounted');
  log.flush();
  assert.match(lines.at(-1)!, /mounted repeated=2\n$/);
  assert.equal(clock.timers, 0);
});

test('the level can be changed, and what is below it is only counted', () => {
  const { lines, log } = processLog();
  log.debug('one');
  log.level = 'debug';
  log.debug('two');
  log.level = 'error';
  log.warn('three');
  assert.deepEqual(lines.length, 1);
  assert.deepEqual({ ...log.counters }, { debug: 2, info: 0, warn: 1, error: 0 });
});

test('the last entries are at hand, warnings and errors for longer', () => {
  const { log } = processLog();
  log.error('the first trouble');
  for (let i = 0; i < 1000; i++) log.info(`line ${i}`);
  assert.equal(log.last(1)[0]!.message, 'line 999');
  assert.equal(log.last(10_000).length, 500);
  assert.deepEqual(
    log.troubles.map(({ message }) => message),
    ['the first trouble'],
  );
});

test('isJournal() is true only for the descriptor that JOURNAL_STREAM names', (t) => {
  const fd = openSync(join(scratchFolder(t), 'file'), 'w');
  const { dev, ino } = fstatSync(fd);
  assert.equal(isJournal(fd, { JOURNAL_STREAM: `${dev}:${ino}` }), true);
  assert.equal(isJournal(fd, { JOURNAL_STREAM: `${dev}:${ino + 1}` }), false);
  assert.equal(isJournal(fd, {}), false);
  assert.equal(isJournal(999_999, { JOURNAL_STREAM: '1:1' }), false);
});

test('rotatingFile() keeps one file of the limit and the one before it', (t) => {
  const path = join(scratchFolder(t), 'thimble.log');
  const write = rotatingFile(path, 1000);
  for (let i = 0; i < 100; i++) write(`${String(i).padStart(99)}\n`);
  assert.ok(statSync(path).size <= 1000);
  assert.equal(statSync(`${path}.1`).size, 1000);
  assert.ok(readFileSync(path, 'utf8').endsWith('99\n'));
  assert.equal(existsSync(`${path}.2`), false);
});

test('rotatingFile() goes on in the new file when another process has rotated', (t) => {
  const path = join(scratchFolder(t), 'thimble.log');
  const write = rotatingFile(path);
  write('one\n');
  renameSync(path, `${path}.1`);
  write('two\n');
  assert.equal(readFileSync(path, 'utf8'), 'two\n');
  assert.equal(readFileSync(`${path}.1`, 'utf8'), 'one\n');
});

test('rotatingFile() loses lines where nothing can be written, and nothing else', (t) => {
  const folder = scratchFolder(t);
  const path = join(folder, 'logs', 'thimble.log');
  mkdirSync(join(folder, 'logs'));
  const write = rotatingFile(path);
  rmSync(join(folder, 'logs'), { recursive: true });
  write('lost\n');
  mkdirSync(join(folder, 'logs'));
  write('kept\n');
  assert.equal(readFileSync(path, 'utf8'), 'kept\n');
});
