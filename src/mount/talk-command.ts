/** What a command of `cvmfs_talk` is. */

import { ThimbleError } from '../core/errors.ts';
import type { ControlledMount } from './control.ts';
import type { ControlRoute } from './control-route.ts';

/** What a command is carried out with. */
export interface TalkContext {
  readonly mount: ControlledMount;
  /** Asks a control route of the same mount. Throws what it throws. */
  readonly ask: (
    method: ControlRoute['method'],
    path: string,
    body?: Readonly<Record<string, unknown>>,
  ) => Promise<unknown>;
}

export interface TalkCommand {
  readonly name: string;
  /** What has to follow, for people. */
  readonly argument?: string;
  readonly answer: (context: TalkContext, argument: string) => string | Promise<string>;
}

export const OK = 'OK\n';
export const NOT_SUPPORTED = 'not supported\n';

/** Throws USAGE. */
export function numberIn(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new ThimbleError('USAGE', `${JSON.stringify(text)} is no number`);
}
