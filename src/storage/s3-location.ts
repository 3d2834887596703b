/**
 * Where a repository is in an object store that speaks S3, as one line of text: `s3://bucket/prefix?endpoint=...&region=...`.
 * It is kept in settings that anybody may read, so it never holds credentials.
 */

import { ThimbleError } from '../core/errors.ts';

const ACLS = ['private', 'public-read', 'bucket-owner-full-control', 'authenticated-read'] as const;
const STYLES = ['path', 'virtual'] as const;

export interface S3Location {
  readonly kind: 's3';
  readonly bucket: string;
  /** Of all keys; without a slash at its ends, and empty if the bucket is the repository. */
  readonly prefix: string;
  /** Without it: Amazon's, of the region. */
  readonly endpoint: string | undefined;
  /** Without it: of `AWS_REGION` or the profile. */
  readonly region: string | undefined;
  /** Where the bucket's name goes: into the path, or before the host. */
  readonly style: (typeof STYLES)[number];
  /** Who may read what is stored; without it, what the bucket says. */
  readonly acl: (typeof ACLS)[number] | undefined;
}

const SCHEME = 's3://';
const PARAMETERS = ['endpoint', 'region', 'style', 'acl'];

export function isS3Location(text: string): boolean {
  return text.startsWith(SCHEME);
}

/** Throws USAGE for what is not of this form. */
export function parseS3Location(text: string): S3Location {
  const refuse = (
    why: string,
    hint = 'such as s3://bucket/cvmfs/os.example.org?region=eu-central-1',
  ): never => {
    throw new ThimbleError('USAGE', `Cannot use ${withoutSecrets(text)} as storage: ${why}`, { hint });
  };
  const [path = '', query = '', ...more] = text.slice(SCHEME.length).split('?');
  const [bucket = '', ...segments] = path.replace(/\/$/, '').split('/');
  if (!isS3Location(text) || more.length > 0) refuse('it is no s3:// address');
  if (path.includes('@')) {
    refuse(
      'it holds credentials',
      'they belong into the environment or a profile, see "thimble repo create --help"',
    );
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{2,254}$/.test(bucket))
    refuse(`${JSON.stringify(bucket)} is no bucket name`);
  for (const segment of segments) {
    if (!/^[A-Za-z0-9!_.*'()-]+$/.test(segment) || segment === '.' || segment === '..') {
      refuse(`${JSON.stringify(segment)} cannot be part of a prefix`);
    }
  }
  const given = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (!PARAMETERS.includes(name))
      refuse(`there is no parameter ${name}`, `there are ${PARAMETERS.join(', ')}`);
    if (value === '' || given.has(name)) refuse(`${name} has to have one value`);
    given.set(name, value);
  }
  const choice = <T extends string>(name: string, values: readonly T[]): T | undefined => {
    const value = given.get(name);
    const found = values.find((known) => known === value);
    if (value !== found) refuse(`${name} cannot be ${value}`, `${name} is one of ${values.join(', ')}`);
    return found;
  };
  const endpoint = given.get('endpoint')?.replace(/\/+$/, '');
  if (endpoint !== undefined && !isEndpoint(endpoint)) {
    refuse('the endpoint is no http:// or https:// address', 'such as endpoint=https://s3.example.org:9000');
  }
  return {
    kind: 's3',
    bucket,
    prefix: segments.join('/'),
    endpoint,
    region: given.get('region'),
    // Amazon wants it before the host; few others have the names in DNS.
    style: choice('style', STYLES) ?? (endpoint === undefined ? 'virtual' : 'path'),
    acl: choice('acl', ACLS),
  };
}

/** Where clients read it, if they may without credentials. */
export function httpAddressOf({ bucket, prefix, endpoint, region, style }: S3Location): string {
  const host = endpoint ?? `https://s3.${region === undefined ? '' : `${region}.`}amazonaws.com`;
  const base = style === 'path' ? `${host}/${bucket}` : host.replace('://', `://${bucket}.`);
  return prefix === '' ? base : `${base}/${prefix}`;
}

function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && `${username}${password}${search}${hash}` === '';
}

/** For messages: what stands where credentials could be is left out. */
function withoutSecrets(text: string): string {
  return text
    .replace(/\/\/[^/?@]*@/g, '//...@')
    .replace(/((?:key|secret|token|password)[^=&]*=)[^&]*/gi, '$1...');
}
