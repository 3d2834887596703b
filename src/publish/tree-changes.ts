/** Trees as changes, and changes in another place. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import type { Tree, TreeChange } from '../core/tree.ts';

export async function* entriesAsChanges(tree: Tree): AsyncGenerator<TreeChange> {
  for await (const entry of tree.entries()) yield { kind: 'put', entry };
}

/** The same changes, to the directory `into` instead of the root. */
export async function* placeBelow(
  into: ByteString,
  changes: AsyncIterable<TreeChange>,
): AsyncGenerator<TreeChange> {
  if (into === '') {
    yield* changes;
    return;
  }
  const below = (path: ByteString) => `${into}${path}` as ByteString;
  for await (const change of changes) {
    if (change.kind === 'put')
      yield { kind: 'put', entry: { ...change.entry, path: below(change.entry.path) } };
    else yield { ...change, path: below(change.path) };
  }
}
