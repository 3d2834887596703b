/**
 * Serves repositories to clients, replicas and caches (docs/format.md#http): objects for days, since they never change;
 * manifest, whitelist and the like for a minute. Anything else than the files of a repository is not there.
 */

import fastifyStatic from '@fastify/static';
import { Counter, Histogram, Registry } from '@prometheus-io/client';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import pino from 'pino';
import { isContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { isFqrn } from '../core/fqrn.ts';
import { dnsResolver, GeoApi } from './geo-api.ts';
import type { GeoDatabase } from './geo-database.ts';
import { News } from './news.ts';
import { listRepositories, NO_METADATA, type ServerMetadata } from './server-info.ts';

export interface ServedRepository {
  readonly fqrn: string;
  /** Its storage folder. */
  readonly folder: string;
}

export interface ServerOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** One JSON line a request goes here; `undefined` logs nothing. */
  readonly accessLog?: NodeJS.WritableStream | undefined;
  /** Tells which server is nearest to whoever asks; without it, servers stay in the order of the question. */
  readonly geoDatabase?: GeoDatabase | undefined;
  readonly metadata?: ServerMetadata | undefined;
}

export interface ServerTotals {
  readonly requests: number;
  readonly bytes: number;
}

const OBJECT_SECONDS = 3 * 24 * 3600;
const MUTABLE_SECONDS = 61;
const GEO_SECONDS = 300;
/** Longer than the interval of most connection trackers would be asking for trouble. */
const NEWS_WAIT_MS = 50_000;
/** Each holds a connection. */
const MAX_NEWS_WAITERS = 20_000;

/** `data/ab/<hex>[-algorithm][type]` and the files at the top; temporary files are not among them. */
const OBJECT = /^data\/[0-9a-f]{2}\/[0-9a-f]{38}(-rmd160|-shake128)?[CHXMPL]?$/;
const TOP =
  /^\.cvmfs(published|whitelist|whitelist\.pkcs7|reflog|_master_replica|_last_snapshot|_is_snapshotting|_partial_replication|_status\.json|alt-[0-9a-f]{40}(-rmd160|-shake128)?[CXHM])$/;

export class RepositoryServer {
  readonly #app: FastifyInstance;
  readonly #options: ServerOptions;
  readonly #names: ReadonlySet<string>;
  readonly #geo: GeoApi;
  readonly #registry = new Registry();
  readonly #requests: Counter<'repository' | 'status'>;
  readonly #bytes: Counter<'repository'>;
  readonly #seconds: Histogram;
  readonly #news: News[] = [];
  #totalRequests = 0;
  #totalBytes = 0;

  constructor(repositories: readonly ServedRepository[], options: ServerOptions) {
    this.#options = options;
    this.#names = new Set(repositories.map(({ fqrn }) => fqrn));
    this.#geo = new GeoApi(options.geoDatabase, {
      monotonicMs: () => performance.now(),
      resolve: dnsResolver(),
    });
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: 'thimble_http_requests_total',
      help: 'Requests answered',
      labelNames: ['repository', 'status'],
      registers,
    });
    this.#bytes = new Counter({
      name: 'thimble_http_body_bytes_total',
      help: 'Bytes of bodies sent',
      labelNames: ['repository'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'thimble_http_request_seconds',
      help: 'From the header of a request to the end of its answer',
      buckets: [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
      registers,
    });
    const logger =
      options.accessLog === undefined
        ? undefined
        : pino({ base: null }, options.accessLog as pino.DestinationStream);
    this.#app = fastify({
      keepAliveTimeout: 75_000,
      // Paths are compared byte by byte below; nothing may be normalised before.
      routerOptions: { ignoreDuplicateSlashes: false, ignoreTrailingSlash: false, caseSensitive: true },
    });
    for (const repository of repositories) this.#serve(repository);
    this.#serveInfo(repositories);
    this.#app.get('/metrics', async (_, reply) => {
      reply.type(this.#registry.contentType);
      return this.#registry.metrics();
    });
    // An object that is missing now may be here in a minute: caches must not keep that for days.
    this.#app.addHook('onSend', async (_, reply) => {
      if (reply.statusCode >= 400) reply.header('Cache-Control', 'no-cache');
    });
    this.#app.addHook('onResponse', async (request, reply) => this.#account(request, reply, logger));
    this.#app.setNotFoundHandler(async (_, reply) => reply.code(404).type('text/plain').send('Not found\n'));
  }

  /** Listens; answers with the address to reach it at. Throws STORAGE when the port cannot be had. */
  async listen(): Promise<string> {
    const { host, port } = this.#options;
    try {
      return await this.#app.listen({ host, port });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new ThimbleError('STORAGE', `Cannot listen on ${host}:${port}: ${code}`, {
        hint: code === 'EADDRINUSE' ? 'another program uses this port; choose one with --port' : undefined,
        cause: error,
      });
    }
  }

  totals(): ServerTotals {
    return { requests: this.#totalRequests, bytes: this.#totalBytes };
  }

  /** Finishes running requests and closes. */
  async close(): Promise<void> {
    for (const news of this.#news) news.close();
    await this.#app.close();
  }

  #serve({ fqrn, folder }: ServedRepository): void {
    if (!isFqrn(fqrn))
      throw new ThimbleError('USAGE', `Cannot serve ${JSON.stringify(fqrn)}: it is not a repository name`);
    const prefix = `/cvmfs/${fqrn}/`;
    this.#serveGeo(`${prefix}api/v1.0/geo/`);
    this.#serveNews(`${prefix}api/v1.0/news/`, folder);
    void this.#app.register(async (scope) => {
      await scope.register(fastifyStatic, {
        root: folder,
        prefix,
        serve: false,
        dotfiles: 'allow',
        index: false,
        cacheControl: false,
      });
      scope.route({
        method: ['GET', 'HEAD'],
        url: `${prefix}*`,
        handler: async (request, reply) => {
          const path = request.url.slice(prefix.length);
          const isObject = OBJECT.test(path);
          if (!isObject && !TOP.test(path)) return reply.callNotFound();
          reply.header(
            'Cache-Control',
            isObject ? `public, max-age=${OBJECT_SECONDS}, immutable` : `public, max-age=${MUTABLE_SECONDS}`,
          );
          reply.type(
            isObject
              ? 'application/octet-stream'
              : path.endsWith('.json')
                ? 'application/json'
                : 'application/x-cvmfs',
          );
          return reply.sendFile(path, folder, { contentType: false });
        },
      });
    });
  }

  #serveGeo(prefix: string): void {
    this.#app.get(`${prefix}*`, async (request, reply) => {
      const header = (name: string) => [request.headers[name]].flat().at(-1);
      reply.type('text/plain');
      try {
        const answer = await this.#geo.answer(request.url.slice(prefix.length), {
          cloudflareAddress: header('cf-connecting-ip'),
          forwardedFor: header('x-forwarded-for'),
          // A socket for both kinds of addresses shows those of IPv4 in this form.
          peerAddress: request.ip.replace(/^::ffff:/, ''),
        });
        return await reply.header('Cache-Control', `public, max-age=${GEO_SECONDS}`).send(answer);
      } catch (error) {
        if (!(error instanceof ThimbleError)) throw error;
        return reply.code(400).send(`${error.message}\n`);
      }
    });
  }

  #serveNews(prefix: string, folder: string): void {
    const news = new News(folder);
    this.#news.push(news);
    this.#app.get(`${prefix}*`, async (request, reply) => {
      const shown = request.url.slice(prefix.length);
      if (!isContentHash(shown)) return reply.code(400).send('Not a root hash\n');
      if (news.waiting >= MAX_NEWS_WAITERS) return reply.code(503).send('Too many wait\n');
      reply.header('Cache-Control', 'no-store').type('text/plain');
      const found = await news.wait(shown, NEWS_WAIT_MS, (leave) => request.raw.once('close', leave));
      return found === undefined ? '' : `${found}\n`;
    });
  }

  #serveInfo(repositories: readonly ServedRepository[]): void {
    const files = {
      'repositories.json': () => listRepositories(repositories),
      'meta.json': () => this.#options.metadata ?? NO_METADATA,
    };
    for (const [name, content] of Object.entries(files)) {
      this.#app.get(`/cvmfs/info/v1/${name}`, async (_, reply) => {
        reply.header('Cache-Control', `public, max-age=${MUTABLE_SECONDS}`).type('application/json');
        return `${JSON.stringify(content(), null, 2)}\n`;
      });
    }
  }

  #account(request: FastifyRequest, reply: FastifyReply, logger: pino.Logger | undefined): void {
    const name = /^\/cvmfs\/([^/]+)\//.exec(request.url)?.[1] ?? '';
    // Names that callers make up would each stay as a series of their own.
    const repository = this.#names.has(name) ? name : '';
    const bytes = request.method === 'HEAD' ? 0 : Number(reply.getHeader('content-length') ?? 0);
    this.#totalRequests++;
    this.#totalBytes += bytes;
    this.#requests.inc({ repository, status: reply.statusCode });
    this.#bytes.inc({ repository }, bytes);
    this.#seconds.observe(reply.elapsedTime / 1000);
    logger?.info({
      method: request.method,
      url: request.url,
      status: reply.statusCode,
      bytes,
      ms: Math.round(reply.elapsedTime * 100) / 100,
      client: request.ip,
    });
  }
}
