/**
 * Storage in an object store that speaks S3 (docs/manual/storage.md). A file is stored by one request, or one that ends a
 * multipart upload, so it is there whole or not at all, and what is acknowledged is durable. Credentials come from where
 * all programs for S3 have them: environment, profile, machine.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type * as Sdk from '@aws-sdk/client-s3';
import { ThimbleError } from '../core/errors.ts';
import { nodeRandom } from '../node/clock.ts';
import { inParallel } from './in-parallel.ts';
import {
  isMissing,
  isPassing,
  isThrottling,
  isUnsupported,
  MAKE_BUCKET,
  storageFailure,
} from './s3-errors.ts';
import type { S3Location } from './s3-location.ts';
import type { Storage, StoredObject } from './storage.ts';

/** Larger files are sent in parts of this size, several at a time. */
const PART_BYTES = 16 * 1024 * 1024;
const PARTS_IN_FLIGHT = 4;
const REQUESTS_IN_FLIGHT = 32;
/** Most that one request removes. */
const REMOVED_AT_ONCE = 1000;
const CONNECT_MS = 10_000;
const IDLE_MS = 60_000;
/** Objects never change; the others are asked for again after a minute (CVMFS_S3: the reference's values). */
const OBJECT_MAX_AGE_SECONDS = 259_200;
const FILE_MAX_AGE_SECONDS = 61;

export interface S3Options {
  /** Of one request that fails for a passing reason. The first pauses are about `pauseMs`, each later one twice as long. */
  readonly attempts?: number;
  readonly pauseMs?: number;
}

const MAX_PAUSE_MS = 20_000;
/** A server that wants fewer requests is left alone for longer. */
const THROTTLED_FACTOR = 5;

interface Connection {
  readonly sdk: typeof Sdk;
  readonly client: Sdk.S3Client;
}

export class S3Storage implements Storage {
  readonly name: string;
  readonly parallel = REQUESTS_IN_FLIGHT;
  readonly location: S3Location;
  readonly #attempts: number;
  readonly #pauseMs: number;
  #connection: Promise<Connection> | undefined;
  /** By key: of equal files that come at a time, one is sent. */
  readonly #puts = new Map<string, Promise<boolean>>();
  #removesMany = true;

  constructor(location: S3Location, { attempts = 8, pauseMs = 100 }: S3Options = {}) {
    this.location = location;
    this.name = `s3://${[location.bucket, location.prefix].filter(Boolean).join('/')}`;
    this.#attempts = attempts;
    this.#pauseMs = pauseMs;
  }

  /** Only looks whether the bucket is there: making one is a matter of names, regions and policies. */
  async create(): Promise<void> {
    const Bucket = this.location.bucket;
    const isThere = await this.#call(`use bucket ${Bucket}`, async ({ sdk, client }) => {
      try {
        await client.send(new sdk.HeadBucketCommand({ Bucket }));
        return true;
      } catch (error) {
        if (isMissing(error)) return false;
        throw error;
      }
    });
    if (isThere) return;
    throw new ThimbleError('STORAGE', `Cannot use bucket ${Bucket}: there is none`, { hint: MAKE_BUCKET });
  }

  async size(path: string): Promise<number | undefined> {
    return this.#call(`look at ${this.#describe(path)}`, async ({ sdk, client }) => {
      try {
        return (await client.send(new sdk.HeadObjectCommand(this.#at(path)))).ContentLength ?? 0;
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    });
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    return this.#call(`read ${this.#describe(path)}`, async ({ sdk, client }) => {
      try {
        const { Body } = await client.send(new sdk.GetObjectCommand(this.#at(path)));
        return await Body!.transformToByteArray();
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    });
  }

  /** Asks before it sends: most of a new revision is there already, and not every server can refuse to overwrite. */
  async putObject(path: string, bytes: Uint8Array): Promise<boolean> {
    const running = this.#puts.get(path);
    if (running !== undefined) return running.then(() => false);
    const put = (async () => {
      if ((await this.size(path)) !== undefined) return false;
      await this.replace(path, bytes);
      return true;
    })();
    this.#puts.set(path, put);
    return put.finally(() => this.#puts.delete(path));
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    const target = { ...this.#at(path), ...headersOf(path), ACL: this.location.acl };
    await this.#call(`write ${this.#describe(path)}`, async ({ sdk, client }) => {
      if (bytes.length > PART_BYTES) await this.#sendInParts(path, target, bytes);
      else await client.send(new sdk.PutObjectCommand({ ...target, Body: bytes }));
    });
  }

  async remove(paths: readonly string[]): Promise<void> {
    for (let at = 0; at < paths.length; at += REMOVED_AT_ONCE) {
      const batch = paths.slice(at, at + REMOVED_AT_ONCE);
      const left = this.#removesMany && batch.length > 1 ? await this.#removeMany(batch) : batch;
      await inParallel(left, REQUESTS_IN_FLIGHT, (path) => this.#removeOne(path));
    }
  }

  /** Objects are listed in order, a thousand with each request. */
  async *objects(): AsyncGenerator<StoredObject> {
    const { bucket: Bucket } = this.location;
    const Prefix = this.#key('data/');
    let ContinuationToken: string | undefined;
    do {
      const page = await this.#call(`list ${this.#describe('data/')}`, ({ sdk, client }) =>
        client.send(new sdk.ListObjectsV2Command({ Bucket, Prefix, ContinuationToken })),
      );
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        const path = `data/${Key.slice(Prefix.length)}`;
        if (!/^data\/[0-9a-f]{2}\/[^/]+$/.test(path)) continue;
        yield { path, sizeBytes: Size, modifiedSeconds: Math.floor((LastModified?.getTime() ?? 0) / 1000) };
      }
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
  }

  /** Nothing to do: the server has answered when a file was durable. */
  async flush(): Promise<void> {}

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    (await connection)?.client.destroy();
  }

  /** Parts of uploads that were never finished: nobody sees them, and they are paid for. Of more than a thousand, the first. */
  async removeTemporaryFiles(): Promise<void> {
    const { bucket: Bucket } = this.location;
    const Prefix = this.#key('');
    try {
      const { sdk, client } = await this.#open();
      const { Uploads = [] } = await client.send(new sdk.ListMultipartUploadsCommand({ Bucket, Prefix }));
      await inParallel(Uploads, REQUESTS_IN_FLIGHT, ({ Key, UploadId }) =>
        client.send(new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId })),
      );
    } catch {
      // They cost a little and harm nobody; the next publisher tries again. Not every server can list them.
    }
  }

  async #sendInParts(path: string, target: Sdk.CreateMultipartUploadCommandInput, bytes: Uint8Array) {
    const { sdk, client } = await this.#open();
    const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(target));
    const upload = { ...this.#at(path), UploadId };
    try {
      const Parts: Sdk.CompletedPart[] = [];
      const count = Math.ceil(bytes.length / PART_BYTES);
      await inParallel([...Array(count).keys()], PARTS_IN_FLIGHT, async (index) => {
        const Body = bytes.subarray(index * PART_BYTES, (index + 1) * PART_BYTES);
        const part = { ...upload, PartNumber: index + 1 };
        const { ETag } = await this.#call(`write ${this.#describe(path)}`, () =>
          client.send(new sdk.UploadPartCommand({ ...part, Body })),
        );
        Parts[index] = { PartNumber: part.PartNumber, ETag };
      });
      // Once for each upload: if the answer is lost, all of it is sent again.
      await client.send(new sdk.CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }));
    } catch (error) {
      // What cannot be aborted now is removed by `removeTemporaryFiles`.
      await client.send(new sdk.AbortMultipartUploadCommand(upload)).catch(() => {});
      throw error;
    }
  }

  /** Answers what it could not remove, for whatever reason. */
  async #removeMany(paths: readonly string[]): Promise<readonly string[]> {
    const Objects = paths.map((path) => ({ Key: this.#key(path) }));
    const input = { Bucket: this.location.bucket, Delete: { Objects, Quiet: true } };
    return this.#call(`remove ${paths.length} files of ${this.name}`, async ({ sdk, client }) => {
      try {
        const { Errors = [] } = await client.send(new sdk.DeleteObjectsCommand(input));
        return Errors.map(({ Key = '' }) => Key.slice(this.#key('').length));
      } catch (error) {
        if (!isUnsupported(error)) throw error;
        this.#removesMany = false;
        return paths;
      }
    });
  }

  async #removeOne(path: string): Promise<void> {
    await this.#call(`remove ${this.#describe(path)}`, async ({ sdk, client }) => {
      try {
        await client.send(new sdk.DeleteObjectCommand(this.#at(path)));
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    });
  }

  /** The library is loaded by the first call: it takes a tenth of a second, which nobody else should pay. */
  #open(): Promise<Connection> {
    this.#connection ??= import('@aws-sdk/client-s3').then((sdk) => ({ sdk, client: this.#connect(sdk) }));
    return this.#connection;
  }

  #connect(sdk: typeof Sdk): Sdk.S3Client {
    const { endpoint, region, style } = this.location;
    // Servers with an address of their own mostly ignore the region, but a signature has to name one.
    const fallback = endpoint === undefined ? undefined : (process.env['AWS_REGION'] ?? 'us-east-1');
    const agent = { maxSockets: REQUESTS_IN_FLIGHT * PARTS_IN_FLIGHT };
    return new sdk.S3Client({
      ...(endpoint === undefined ? {} : { endpoint }),
      ...((region ?? fallback) === undefined ? {} : { region: (region ?? fallback)! }),
      forcePathStyle: style === 'path',
      // Attempts are made here, so that they cover an answer's body too.
      maxAttempts: 1,
      // Newer than many servers. Requests are signed with a hash of their body, and objects have their own.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: CONNECT_MS,
        socketTimeout: IDLE_MS,
        httpAgent: agent,
        httpsAgent: agent,
      },
    });
  }

  /** Tries until it works, fails for good, or has failed often enough. Throws STORAGE. */
  async #call<T>(what: string, action: (connection: Connection) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await action(await this.#open());
      } catch (error) {
        if (attempt >= this.#attempts || !isPassing(error)) throw storageFailure(what, error);
        const factor = (isThrottling(error) ? THROTTLED_FACTOR : 1) * 2 ** (attempt - 1);
        // Spread, so that those who failed together do not come back together.
        await sleep(Math.min(this.#pauseMs * factor, MAX_PAUSE_MS) * (0.5 + nodeRandom.fraction()));
      }
    }
  }

  #key(path: string): string {
    return this.location.prefix === '' ? path : `${this.location.prefix}/${path}`;
  }

  #at(path: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.location.bucket, Key: this.#key(path) };
  }

  #describe(path: string): string {
    return `${this.name}/${path}`;
  }
}

/** As the reference sends them (cvmfs-format, storage back ends). */
function headersOf(path: string): { readonly ContentType: string; readonly CacheControl: string } {
  const isObject = path.startsWith('data/');
  const name = path.split('/').at(-1) ?? '';
  const type = name.endsWith('.json')
    ? 'application/json'
    : name.startsWith('.cvmfs')
      ? 'application/x-cvmfs'
      : 'application/octet-stream';
  return {
    ContentType: isObject ? 'application/octet-stream' : type,
    CacheControl: `max-age=${isObject ? OBJECT_MAX_AGE_SECONDS : FILE_MAX_AGE_SECONDS}`,
  };
}
