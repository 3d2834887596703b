/**
 * Large files that are open on a mount: how often, and which file is behind. Every row is in a file too, so that the next
 * process knows when this one is killed: the kernel refuses to open a file in two ways at a time.
 *
 * The file has rows of three 64-bit floats, little-endian. Row 0: the size from which files are in here, the request that was
 * handled last, and zero. Others: node, number of the file behind (0 is none), how often it is open; 0 times is a free row.
 */

import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import type { NodeId } from '../core/vfs.ts';
import type { RequestId } from '../fuse/passthrough.ts';

const NODE = 0;
const BACKING_ID = 1;
const OPENS = 2;
const WORDS = 3;
/** In row 0. */
const LAST_REQUEST = 1;
const ROW_BYTES = 8 * WORDS;

export class OpenFiles {
  /** What counts as large, in bytes: as it was when the mount began, whatever is asked for now. */
  readonly minimumBytes: number;
  readonly #fd: number;
  /** By handle; the first stands for row 0. */
  readonly #rows: Float64Array[] = [];
  readonly #handles = new Map<NodeId, number>();
  readonly #free: number[] = [];

  /** Goes on with what is in the file, or makes it. Throws what `node:fs` throws. */
  constructor(path: string, minimumBytes: number) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const rows = Math.floor(fstatSync(this.#fd).size / ROW_BYTES);
    for (let handle = 0; handle < rows; handle++) {
      const row = new Float64Array(WORDS);
      readSync(this.#fd, row, 0, ROW_BYTES, handle * ROW_BYTES);
      this.#rows.push(row);
      if (handle === 0) continue;
      if (row[OPENS]! > 0) this.#handles.set(row[NODE] as NodeId, handle);
      else this.#free.push(handle);
    }
    if (rows === 0) this.#rows.push(Float64Array.of(minimumBytes, 0, 0));
    this.#write(0);
    this.minimumBytes = this.#rows[0]![0]!;
  }

  /** How many files are open, and of them those with one behind. */
  count(): { readonly files: number; readonly backed: number } {
    let backed = 0;
    for (const handle of this.#handles.values()) if (this.backingId(handle) > 0) backed++;
    return { files: this.#handles.size, backed };
  }

  /** The handle of a file that is open; never 0. */
  find(node: NodeId): number | undefined {
    return this.#handles.get(node);
  }

  backingId(handle: number): number {
    return this.#rows[handle]![BACKING_ID]!;
  }

  /** True for a request that an earlier process has counted, and not answered. */
  isCounted({ unique, isRepeated }: RequestId): boolean {
    return isRepeated && this.#rows[0]![LAST_REQUEST] === unique;
  }

  // A process that is killed in the middle of these has counted an opening too often, or a closing too little: then a file is
  // open here until the unmount. The other way round it could not be opened.

  /** The first opening of a file. */
  add(node: NodeId, backingId: number, request: RequestId): number {
    const handle = this.#free.pop() ?? this.#rows.length;
    this.#rows[handle] = Float64Array.of(node, backingId, 1);
    this.#handles.set(node, handle);
    this.#write(handle);
    this.#handled(request);
    return handle;
  }

  /** A further opening. */
  reopen(handle: number, request: RequestId): void {
    this.#rows[handle]![OPENS]!++;
    this.#write(handle);
    this.#handled(request);
  }

  /** Answers what was behind, and of which node, when this was the last closing. */
  close(
    handle: number,
    request: RequestId,
  ): { readonly node: NodeId; readonly backingId: number } | undefined {
    const row = this.#rows[handle];
    if (row === undefined || !(row[OPENS]! > 0)) return undefined;
    this.#handled(request);
    row[OPENS]!--;
    this.#write(handle);
    if (row[OPENS]! > 0) return undefined;
    const node = row[NODE] as NodeId;
    this.#handles.delete(node);
    this.#free.push(handle);
    return { node, backingId: row[BACKING_ID]! };
  }

  end(): void {
    closeSync(this.#fd);
  }

  #handled({ unique }: RequestId): void {
    this.#rows[0]![LAST_REQUEST] = unique;
    this.#write(0);
  }

  #write(handle: number): void {
    writeSync(this.#fd, this.#rows[handle]!, 0, ROW_BYTES, handle * ROW_BYTES);
  }
}
