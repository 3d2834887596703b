import { readFileSync } from 'node:fs';
import { type ContentHash, isContentHash } from '../core/content-hash.ts';

/** Where the reference keeps the hash of a reference log, on the machine that has the storage. */
const SPOOL = '/var/spool/cvmfs';

/** `undefined` where the reference does not manage this repository. */
export function readReflogChecksum(fqrn: string, spool = SPOOL): ContentHash | undefined {
  let text: string;
  try {
    text = readFileSync(`${spool}/${fqrn}/reflog.chksum`, 'utf8');
  } catch {
    // Most machines have none; the manifest says it too.
    return undefined;
  }
  const hash = text.trim();
  return isContentHash(hash) ? hash : undefined;
}
