/**
 * Variables in symlink targets (docs/format.md#symlink-variables): `$(NAME)` and `$(NAME:-default)` are replaced by the
 * client. No nesting, no escapes; `$(` without a `)` behind it stays as it is.
 */

import type { ByteString } from './bytes/byte-string.ts';

export function expandSymlink(
  target: ByteString,
  variable: (name: string) => ByteString | undefined,
): ByteString {
  if (!target.includes('$(')) return target;
  return target.replace(/\$\(([^)]*)\)/g, (_, inside: string) => {
    const separator = inside.indexOf(':-');
    const name = separator < 0 ? inside : inside.slice(0, separator);
    return variable(name) ?? (separator < 0 ? '' : inside.slice(separator + 2));
  }) as ByteString;
}
