/**
 * Which proxy keeps which object: each proxy stands on some points of a ring, and an object goes to the next one from its
 * own point on. When a proxy goes, only its own objects move (consistent hashing, Karger et al. 1997).
 */

/** Points of each proxy, as many as CernVM-FS has. */
const POINTS = 16;

export class ProxyRing<T extends { readonly name: string }> {
  readonly #points: readonly { readonly at: number; readonly member: T }[];

  constructor(members: readonly T[]) {
    this.#points = members
      .flatMap((member) =>
        Array.from({ length: POINTS }, (_, i) => ({ at: pointOf(`${member.name}#${i}`), member })),
      )
      .sort((a, b) => a.at - b.at);
  }

  /** `undefined` on an empty ring. */
  memberFor(key: string): T | undefined {
    const at = pointOf(key);
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#points[middle]!.at < at) low = middle + 1;
      else high = middle;
    }
    return (this.#points[low] ?? this.#points[0])?.member;
  }
}

/** FNV-1a with the last steps of MurmurHash3, which spread short texts that differ in one letter. */
function pointOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
