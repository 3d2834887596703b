import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LogLevel, lineLog } from './log.ts';

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
