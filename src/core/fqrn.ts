/** Fully qualified repository names, such as `sft.cern.ch`. */

import { ThimbleError } from './errors.ts';

export type Fqrn = string & { readonly __brand: 'Fqrn' };

const MAX_LENGTH = 60;

export function isFqrn(text: string): boolean {
  return text.length <= MAX_LENGTH && /^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+$/.test(text);
}

/** Throws USAGE. */
export function parseFqrn(text: string): Fqrn {
  if (!isFqrn(text)) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a repository name`, {
      hint: 'letters, digits, - and _ in at least two parts joined by dots, such as os.example.org',
    });
  }
  return text as Fqrn;
}
