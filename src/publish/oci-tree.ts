/**
 * An image of an OCI layout as a tree. Layers are read twice: first their headers, which tell what is left in the end, then
 * what is left. So each path comes once, and nothing is stored that a later layer replaces.
 */

import { createHash } from 'node:crypto';
import { readTar, type TarEntry } from '../archive/tar.ts';
import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { type ImageChoice, type OciLayer, readImage } from './oci-image.ts';
import { MergedLayers } from './oci-layers.ts';
import { OciLayout } from './oci-layout.ts';
import { treeEntryOf } from './tar-tree.ts';
import { unpackLayer } from './unpack-layer.ts';

export class OciTree implements Tree {
  readonly name: string;
  readonly #layout: OciLayout;
  readonly #layers: readonly OciLayer[];

  private constructor(layout: OciLayout, layers: readonly OciLayer[]) {
    this.name = layout.name;
    this.#layout = layout;
    this.#layers = layers;
  }

  /** Throws NOT_FOUND, USAGE, FORMAT, INTEGRITY, LIMIT, UNSUPPORTED, STORAGE. */
  static async open(path: string, choice: ImageChoice = {}): Promise<OciTree> {
    const layout = await OciLayout.open(path);
    return new OciTree(layout, await readImage(layout, choice));
  }

  /** Throws as `open` does. */
  async *entries(): AsyncGenerator<TreeEntry> {
    for (const { blob } of this.#layers) await this.#layout.verifyBlob(blob);
    const merged = new MergedLayers();
    for (const layer of this.#layers) await merged.add(this.#read(layer));
    yield* merged.directories();
    const leaves = merged.leaves();
    for (const [i, layer] of this.#layers.entries()) {
      let ordinal = 0;
      for await (const entry of this.#read(layer)) {
        const names = leaves[i]!.get(ordinal++);
        if (names !== undefined) yield* namesOf(entry, names, i);
      }
    }
  }

  /** Entries of a layer, each time to the last byte: only that tells whether it is the layer that was meant. */
  async *#read({ blob, compression, diffId }: OciLayer): AsyncGenerator<TarEntry> {
    const hash = createHash('sha256');
    const plain = hashed(unpackLayer(this.#layout.readBlob(blob), compression, blob.digest), (bytes) =>
      hash.update(bytes),
    );
    // Closing it is left to this function: behind the end marker there may be more.
    const left = { [Symbol.asyncIterator]: () => ({ next: () => plain.next() }) };
    try {
      yield* readTar(left);
      for await (const _ of left);
    } finally {
      await plain.return(undefined);
    }
    const actual = `sha256:${hash.digest('hex')}`;
    if (actual === diffId) return;
    throw new ThimbleError(
      'INTEGRITY',
      `Cannot use layer ${blob.digest}: it unpacks to ${actual}, ${diffId} expected`,
    );
  }
}

/** The same entry under each of its names; files become hard links. */
function* namesOf(entry: TarEntry, names: readonly ByteString[], layer: number): Generator<TreeEntry> {
  const linkKey = entry.type === 'file' && names.length > 1 ? `${layer}:${names[0]}` : undefined;
  for (const [i, path] of names.entries()) {
    const translated = { ...treeEntryOf(entry, path), linkKey };
    yield i === 0 ? translated : { ...translated, content: undefined };
  }
}

async function* hashed(source: AsyncIterable<Bytes>, take: (bytes: Bytes) => void): AsyncGenerator<Bytes> {
  for await (const bytes of source) {
    take(bytes);
    yield bytes;
  }
}
