/**
 * What can be asked of a running mount, as rows of a table. Each part of the mount brings its own rows; the control server
 * knows none of them.
 */

import { ThimbleError } from '../core/errors.ts';

export interface ControlRequest {
  readonly query: URLSearchParams;
  /** The JSON object that was sent; empty where none was. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface ControlRoute {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** All of it, such as `/status`. */
  readonly path: string;
  /** The answer is sent as JSON, unless it is a `TextReply`. What is thrown is sent as `{error: {code, message, hint}}`. */
  readonly handle: (request: ControlRequest) => unknown;
}

/** An answer that is no JSON. */
export class TextReply {
  readonly contentType: string;
  readonly text: string;

  constructor(contentType: string, text: string) {
    this.contentType = contentType;
    this.text = text;
  }
}

/** A list of strings in the body. Throws USAGE. */
export function stringsIn({ body }: ControlRequest, name: string): readonly string[] {
  const value = body[name];
  if (Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'string')) return value;
  throw new ThimbleError('USAGE', `Cannot use the request: "${name}" has to be a list of strings`);
}

/** Throws USAGE. */
export function stringIn({ body }: ControlRequest, name: string): string {
  const value = body[name];
  if (typeof value === 'string' && value !== '') return value;
  throw new ThimbleError('USAGE', `Cannot use the request: "${name}" has to be a string`);
}

/** Throws USAGE unless it is a whole number from `least` to `most`. */
export function countIn({ body }: ControlRequest, name: string, least: number, most: number): number {
  const value = body[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new ThimbleError(
    'USAGE',
    `Cannot use the request: "${name}" has to be a whole number from ${least} to ${most}`,
  );
}
