/** Proxies as configuration files write them. */

import { ThimbleError } from '../../core/errors.ts';
import { DIRECT } from './proxy-member.ts';
import { parseProxyUrl } from './url.ts';

/** A group that is only this word: whatever PAC files say. */
export const AUTO = 'auto';

/**
 * Reads `CVMFS_HTTP_PROXY`: groups in order of preference with `;` between them, members that share the load with `|`.
 * `http://` is added where it is missing. Empty places are left out. Throws USAGE for what is no address, and for `auto`
 * beside other members.
 */
export function parseProxyGroups(text: string): string[][] {
  return text
    .split(';')
    .map((group) => {
      const words = group.split('|').map((word) => word.trim());
      return [...new Set(words.filter((word) => word !== '').map(parseMember))];
    })
    .filter((group) => group.length > 0)
    .map((group) => {
      if (group.length === 1 || !group.includes(AUTO)) return group;
      throw new ThimbleError('USAGE', 'Cannot use "auto" beside other proxies of a group', {
        hint: 'write it as a group of its own: auto;http://proxy:3128',
      });
    });
}

function parseMember(word: string): string {
  if (word.toUpperCase() === DIRECT) return DIRECT;
  if (word.toLowerCase() === AUTO) return AUTO;
  const address = word.includes('://') ? word : `http://${word}`;
  parseProxyUrl(address);
  return address;
}

/** All groups in the order in which they are tried: where there are fallback groups, `DIRECT` is in none. */
export function withFallbackGroups(
  groups: readonly (readonly string[])[],
  fallback: readonly (readonly string[])[],
): (readonly string[])[] {
  if (fallback.length === 0) return [...groups];
  return [...groups, ...fallback]
    .map((group) => group.filter((proxy) => proxy !== DIRECT))
    .filter((group) => group.length > 0);
}
