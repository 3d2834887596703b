/** Where addresses are, from a database in MaxMind's format, such as GeoLite2 City (https://maxmind.github.io/MaxMind-DB/). */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { Reader, type Response } from 'mmdb-lib';
import { ThimbleError } from '../core/errors.ts';

export interface Place {
  readonly latitude: number;
  readonly longitude: number;
}

export class GeoDatabase {
  readonly #reader: Reader<Response>;

  constructor(reader: Reader<Response>) {
    this.#reader = reader;
  }

  /** Throws NOT_FOUND, FORMAT. */
  static open(path: string): GeoDatabase {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      throw new ThimbleError('NOT_FOUND', `Cannot read geo database ${path}`, { cause: error });
    }
    try {
      return new GeoDatabase(new Reader(bytes));
    } catch (error) {
      throw new ThimbleError('FORMAT', `Cannot read geo database ${path}: it is not in MaxMind's format`, {
        hint: 'GeoLite2-City.mmdb is one that serves',
        cause: error,
      });
    }
  }

  /** `undefined` where the database does not know. */
  placeOf(address: string): Place | undefined {
    if (isIP(address) === 0) return undefined;
    const { latitude, longitude } = locationOf(this.#reader.get(address));
    if (typeof latitude !== 'number' || typeof longitude !== 'number') return undefined;
    return { latitude, longitude };
  }
}

/** Databases of countries or networks have records of other shapes. */
function locationOf(record: unknown): { readonly latitude?: unknown; readonly longitude?: unknown } {
  return (record as { location?: object } | null)?.location ?? {};
}
