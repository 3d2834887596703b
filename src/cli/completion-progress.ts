/** How far a download of many objects is, in words. */

import type { CompletionStatus } from '../client/complete.ts';
import { parseSize } from '../config/parse-size.ts';
import { formatBytes, formatCount } from './terminal.ts';

/** Bytes a second; `undefined` where nothing is asked for. Throws USAGE. */
export function parseRate(text: string | undefined): number | undefined {
  return text === undefined ? undefined : parseSize(text.replace(/\/s$/, ''));
}

export function completionText(status: CompletionStatus): string {
  const { objects, bytes, presentBytes, fetchedBytes, bytesPerSecond, missingObjects, state } = status;
  const parts = [
    `${formatBytes(presentBytes + fetchedBytes)} of ${formatBytes(bytes)} in ${formatCount(objects)} objects`,
    bytesPerSecond === 0 ? '' : `${formatBytes(bytesPerSecond)}/s`,
    missingObjects === 0 ? '' : `${formatCount(missingObjects)} objects are on no server`,
    state === 'waiting' ? `waiting for the network: ${status.lastError}` : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}
