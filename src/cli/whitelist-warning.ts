/** Whitelists that expire, or that hold for too long. */

import { isExpired, type Whitelist } from '../core/whitelist.ts';
import { nodeClock } from '../node/clock.ts';
import { readWhitelist } from '../publish/whitelist-writer.ts';
import { keyPlace, publisherPorts } from './publisher-ports.ts';
import { formatTime, type GlobalOptions, printWarning } from './terminal.ts';

/** A stolen key is good for as long as the whitelists that have it. */
const LONG_DAYS = 30;
const SECONDS_PER_DAY = 24 * 3600;

/** Warns when less than a quarter of the life of a whitelist is left. */
export function warnOfExpiry(whitelist: Whitelist | undefined, options: GlobalOptions): void {
  if (whitelist === undefined) return;
  const { fqrn, createdSeconds, expiresSeconds } = whitelist;
  const now = nodeClock.unixSeconds();
  if (expiresSeconds - now >= (expiresSeconds - createdSeconds) / 4) return;
  const tense = isExpired(whitelist, now) ? 'expired' : 'expires';
  printWarning(
    options,
    `The whitelist of ${fqrn} ${tense} at ${formatTime(expiresSeconds)}; then clients refuse the repository`,
    `sign it again, where its keys are: thimble repo resign ${fqrn}`,
  );
}

/** The same for a repository that is published from here. */
export async function warnOfOwnExpiry(name: string, options: GlobalOptions): Promise<void> {
  const { settings } = keyPlace(name, options);
  warnOfExpiry((await readWhitelist(settings, publisherPorts))?.whitelist, options);
}

/** Warns of a life time that leaves a stolen key good for long. */
export function warnOfLongLife({ createdSeconds, expiresSeconds }: Whitelist, options: GlobalOptions): void {
  const days = Math.round((expiresSeconds - createdSeconds) / SECONDS_PER_DAY);
  if (days <= LONG_DAYS) return;
  printWarning(
    options,
    `The whitelist is valid for ${days} days: a stolen repository key would be good for as long`,
    `sign more often, for ${LONG_DAYS} days or fewer`,
  );
}
