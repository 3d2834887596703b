import { ThimbleError } from '../core/errors.ts';

const POWERS: Readonly<Record<string, number>> = { k: 1, K: 1, '': 2, M: 2, G: 3, T: 4 };

/** A size such as `512M` or `4G`, in bytes; a bare number is megabytes. Throws USAGE. */
export function parseSize(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,9}(?:\.\d{1,6})?)([kKMGT]?)B?$/.exec(text) ?? [];
  if (digits === undefined) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text.slice(0, 80))} as a size`, {
      hint: 'sizes look like 64k, 512M or 4G; a plain number counts megabytes',
    });
  }
  return Math.round(Number(digits) * 1024 ** (POWERS[unit] as number));
}
