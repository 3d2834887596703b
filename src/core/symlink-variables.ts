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
  // Behind the last `)` nothing can match; looking for one from every `$(` there would take quadratic time.
  const end = target.lastIndexOf(')') + 1;
  const expanded = target.slice(0, end).replace(/\$\(([^)]*)\)/g, (_, inside: string) => {
    const separator = inside.indexOf(':-');
    const name = separator < 0 ? inside : inside.slice(0, separator);
    return variable(name) ?? (separator < 0 ? '' : inside.slice(separator + 2));
  });
  return (expanded + target.slice(end)) as ByteString;
}
