import type { Log, LogFields } from '../core/ports.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** A log of text lines: `2026-11-22T12:00:00Z warn fetch failed path=.cvmfspublished`. */
export function lineLog(write: (line: string) => void, least: LogLevel): Log {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
    const time = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    write(`${time} ${level} ${message}${formatFields(fields ?? {})}\n`);
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

function formatFields(fields: LogFields): string {
  let text = '';
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const plain = String(value);
    text += ` ${key}=${/^[!#-~]+$/.test(plain) ? plain : JSON.stringify(plain)}`;
  }
  return text;
}
