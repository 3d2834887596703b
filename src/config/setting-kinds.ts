/** Kinds of settings: how their text is read, wherever it is written. */

import { parseProxyGroups } from '../client/network/proxy-groups.ts';
import { parseServerList } from '../client/network/server-list.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import { parseSize } from './parse-size.ts';

export interface Kind<T> {
  /** In place of the value, in help and manual: `<seconds>`. */
  readonly placeholder: string;
  /** How YAML may write it: lists are joined by `separator` and read as one text. */
  readonly yaml: 'text' | 'number' | 'boolean' | 'list' | 'map';
  readonly separator?: string;
  /** Files and folders: what a flag says is relative to where it is said; files have to say it in full. */
  readonly isPath?: boolean;
  /** Throws USAGE. */
  readonly parse: (text: string, fqrn: Fqrn) => T;
}

function usage(text: string, what: string): ThimbleError {
  return new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text.slice(0, 80))}: it has to be ${what}`);
}

/** Decimal, with a fraction where `isWhole` is false. */
export function number(
  placeholder: string,
  least: number,
  most: number,
  { isWhole = true } = {},
): Kind<number> {
  const pattern = isWhole ? /^\d{1,15}$/ : /^\d{1,9}(\.\d{1,6})?$/;
  const what = `${isWhole ? 'a whole number' : 'a number'} from ${least} to ${most}`;
  const parse = (text: string) => {
    const value = pattern.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw usage(text, what);
  };
  return { placeholder, yaml: 'number', parse };
}

export const boolean: Kind<boolean> = {
  placeholder: 'yes|no',
  yaml: 'boolean',
  parse(text) {
    if (/^(yes|on|1|true)$/i.test(text)) return true;
    if (/^(no|off|0|false)$/i.test(text)) return false;
    throw usage(text, 'yes or no');
  },
};

export function choice<const T extends string>(values: readonly T[]): Kind<T> {
  return {
    placeholder: values.join('|'),
    yaml: 'text',
    parse(text) {
      const found = values.find((value) => value === text.toLowerCase());
      if (found !== undefined) return found;
      throw usage(text, `one of ${values.join(', ')}`);
    },
  };
}

export function optional<T>(kind: Kind<T>): Kind<T | undefined> {
  return kind;
}

/** Text with `@fqrn@` and `@org@` filled in. */
export function text(placeholder: string): Kind<string> {
  return { placeholder, yaml: 'text', parse: fillTemplate };
}

function wholePath(value: string, fqrn: Fqrn): string {
  const path = fillTemplate(value, fqrn);
  if (path.startsWith('/') || path === 'none') return path;
  throw usage(path, 'a path from the root, such as /var/cache/thimble');
}

/** `none` is one too: it says that there is none. */
export function path(placeholder: string): Kind<string> {
  return { placeholder, yaml: 'text', isPath: true, parse: wholePath };
}

export function paths(placeholder: string): Kind<readonly string[]> {
  const parse = (value: string, fqrn: Fqrn) =>
    value
      .split(':')
      .filter((part) => part !== '')
      .map((part) => wholePath(part, fqrn));
  return { placeholder, yaml: 'list', separator: ':', isPath: true, parse };
}

export function list(placeholder: string, separator: string): Kind<readonly string[]> {
  const parse = (value: string, fqrn: Fqrn) =>
    fillTemplate(value, fqrn)
      .split(separator)
      .map((part) => part.trim())
      .filter((part) => part !== '');
  return { placeholder, yaml: 'list', separator, parse };
}

export const servers: Kind<readonly string[]> = {
  placeholder: 'addresses',
  yaml: 'list',
  separator: ';',
  parse: parseServerList,
};

/** Without folders: external files are fetched, not opened. */
export const webServers: Kind<readonly string[]> = {
  ...servers,
  parse(text, fqrn) {
    const addresses = parseServerList(text, fqrn);
    for (const address of addresses) {
      if (!/^https?:/.test(address)) {
        throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(address)} as an address`, {
          hint: 'external files are fetched from http:// or https:// addresses',
        });
      }
    }
    return addresses;
  },
};

export const proxies: Kind<readonly (readonly string[])[]> = {
  placeholder: 'proxies',
  yaml: 'list',
  separator: ';',
  parse: parseProxyGroups,
};

/** Bytes of `64k`, `512M`, `4G`; a bare number is megabytes; `unlimited`. */
export const size: Kind<number> = {
  placeholder: 'size',
  yaml: 'text',
  parse(value) {
    return value === 'unlimited' ? Number.MAX_SAFE_INTEGER : parseSize(value);
  },
};

/** The same; 0 bytes for `off`. */
export const sizeOrOff: Kind<number> = {
  ...size,
  placeholder: 'size|off',
  parse: (value, fqrn) => (/^(off|no|0)$/.test(value) ? 0 : size.parse(value, fqrn)),
};

/** Seconds, or `wait`. */
export function deadline(most: number): Kind<number | 'wait'> {
  const seconds = number('seconds', 1, most);
  return {
    placeholder: 'seconds|wait',
    yaml: 'number',
    parse: (value, fqrn) => (value === 'wait' ? value : seconds.parse(value, fqrn)),
  };
}

/** `NAME=VALUE`, one a line. */
export const variables: Kind<Readonly<Record<string, string>>> = {
  placeholder: 'name=value',
  yaml: 'map',
  separator: '\n',
  parse(value) {
    const lines = value.split('\n').filter((line) => line !== '');
    return Object.fromEntries(
      lines.map((line) => {
        const divides = line.indexOf('=');
        if (divides > 0) return [line.slice(0, divides), line.slice(divides + 1)];
        throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(line)} as a variable`, {
          hint: 'variables look like NAME=VALUE',
        });
      }),
    );
  },
};

export function fillTemplate(value: string, fqrn: Fqrn): string {
  const [organisation = ''] = fqrn.split('.');
  return value.replaceAll('@fqrn@', fqrn).replaceAll('@org@', organisation);
}
