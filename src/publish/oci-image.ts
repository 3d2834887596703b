/** Which image of a layout, and what its layers are: from index to manifest to configuration. */

import { z } from 'zod';
import { ThimbleError } from '../core/errors.ts';
import { type Descriptor, descriptorSchema, type OciLayout } from './oci-layout.ts';

const REF_ANNOTATION = 'org.opencontainers.image.ref.name';
/** Images of build tools that describe another image instead of being one. */
const ATTESTATION_ANNOTATION = 'vnd.docker.reference.type';
const MAX_INDEX_DEPTH = 4;
const MAX_LAYERS = 1024;

const INDEX_TYPES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const CONFIG_TYPES = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
];

export type LayerCompression = 'none' | 'gzip' | 'zstd';

/** OCI has the compression as a suffix; Docker has names of its own, and layers that are not to be passed on. */
const LAYER_TYPES: Readonly<Record<string, LayerCompression>> = {
  'application/vnd.oci.image.layer.v1.tar': 'none',
  'application/vnd.oci.image.layer.v1.tar+gzip': 'gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd': 'zstd',
  'application/vnd.oci.image.layer.nondistributable.v1.tar': 'none',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip': 'gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd': 'zstd',
  'application/vnd.docker.image.rootfs.diff.tar': 'none',
  'application/vnd.docker.image.rootfs.diff.tar.gzip': 'gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd': 'zstd',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip': 'gzip',
};

const indexSchema = z.object({ schemaVersion: z.literal(2), manifests: z.array(descriptorSchema) });
const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptorSchema,
  layers: z.array(descriptorSchema),
});
const configSchema = z.object({
  os: z.string(),
  architecture: z.string(),
  variant: z.string().optional(),
  rootfs: z.object({
    type: z.literal('layers'),
    diff_ids: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/)),
  }),
});

export interface ImageChoice {
  /** Name of the image in the layout; may be missing if there is one only. */
  readonly ref?: string | undefined;
  /** `os/arch` or `os/arch/variant`; where there are several and none is named, that of this machine. */
  readonly platform?: string | undefined;
}

export interface OciLayer {
  readonly blob: Descriptor;
  readonly compression: LayerCompression;
  /** `sha256:...` of what comes out of it. */
  readonly diffId: string;
}

type Platform = NonNullable<Descriptor['platform']>;

/** The layers of the chosen image, the lowest first. Throws NOT_FOUND, USAGE, FORMAT, INTEGRITY, LIMIT, UNSUPPORTED. */
export async function readImage(layout: OciLayout, choice: ImageChoice): Promise<OciLayer[]> {
  const manifests = await imagesOf(layout, await namedImages(layout, choice.ref), 0);
  const chosen = chooseImage(layout, manifests, choice.platform);
  const manifest = await layout.readDocument(chosen, manifestSchema);
  if (!CONFIG_TYPES.includes(manifest.config.mediaType)) {
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot publish ${layout.name}: it is no image but ${manifest.config.mediaType}`,
    );
  }
  const config = await layout.readDocument(manifest.config, configSchema);
  if (choice.platform !== undefined && !isFor(config, choice.platform)) {
    throw new ThimbleError(
      'NOT_FOUND',
      `Cannot publish ${layout.name}: the image is for ${formatPlatform(config)}, not ${choice.platform}`,
    );
  }
  const { diff_ids: diffIds } = config.rootfs;
  if (manifest.layers.length > MAX_LAYERS) {
    throw new ThimbleError('LIMIT', `Cannot publish ${layout.name}: it has ${manifest.layers.length} layers`);
  }
  if (diffIds.length !== manifest.layers.length) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot publish ${layout.name}: ${manifest.layers.length} layers have ${diffIds.length} hashes of their content`,
    );
  }
  return manifest.layers.map((blob, i) => ({ blob, compression: compressionOf(blob), diffId: diffIds[i]! }));
}

/** Entries of the index that have the name, or all if there is no more than one name. Throws NOT_FOUND, USAGE. */
async function namedImages(layout: OciLayout, ref: string | undefined): Promise<Descriptor[]> {
  const { manifests } = await layout.readFile('index.json', indexSchema);
  const nameOf = ({ annotations }: Descriptor) => annotations?.[REF_ANNOTATION];
  const names = [...new Set(manifests.map(nameOf))].filter((name) => name !== undefined);
  const hint = names.length === 0 ? 'its images have no names' : `it has ${names.join(', ')}`;
  if (ref !== undefined) {
    const named = manifests.filter((one) => nameOf(one) === ref);
    if (named.length > 0) return named;
    throw new ThimbleError('NOT_FOUND', `Cannot find image ${ref} in ${layout.name}`, { hint });
  }
  if (names.length <= 1) return manifests;
  throw new ThimbleError('USAGE', `Cannot tell which image of ${layout.name}: there are several`, {
    hint: `${hint}; name one: oci:${layout.name}:${names[0]}`,
  });
}

/** Manifests of images, also those that nested indexes name. */
async function imagesOf(
  layout: OciLayout,
  entries: readonly Descriptor[],
  depth: number,
): Promise<Descriptor[]> {
  if (depth > MAX_INDEX_DEPTH) {
    throw new ThimbleError('LIMIT', `Cannot publish ${layout.name}: its indexes are nested too deeply`);
  }
  const images: Descriptor[] = [];
  for (const entry of entries) {
    if (entry.annotations?.[ATTESTATION_ANNOTATION] !== undefined) continue;
    if (MANIFEST_TYPES.includes(entry.mediaType)) images.push(entry);
    if (!INDEX_TYPES.includes(entry.mediaType)) continue;
    const { manifests } = await layout.readDocument(entry, indexSchema);
    images.push(...(await imagesOf(layout, manifests, depth + 1)));
  }
  return images;
}

/** Throws NOT_FOUND, USAGE. */
function chooseImage(
  layout: OciLayout,
  images: readonly Descriptor[],
  platform: string | undefined,
): Descriptor {
  const [only] = images;
  if (only === undefined) throw new ThimbleError('NOT_FOUND', `Cannot find an image in ${layout.name}`);
  if (platform !== undefined) parsePlatform(platform);
  if (images.length === 1) return only;
  const wanted = platform ?? ownPlatform();
  const found = images.find((image) => image.platform !== undefined && isFor(image.platform, wanted));
  if (found !== undefined) return found;
  const known = images.map((image) =>
    image.platform === undefined ? 'unknown' : formatPlatform(image.platform),
  );
  throw new ThimbleError('NOT_FOUND', `Cannot find an image for ${wanted} in ${layout.name}`, {
    hint: `it has images for ${[...new Set(known)].join(', ')}; choose one with --platform`,
  });
}

/** A variant that is not asked for may be any. */
function isFor(platform: Platform, wanted: string): boolean {
  const { os, architecture, variant } = parsePlatform(wanted);
  return (
    platform.os === os &&
    platform.architecture === architecture &&
    (variant === undefined || platform.variant === variant)
  );
}

/** Throws USAGE. */
function parsePlatform(text: string): Platform {
  const [os = '', architecture = '', variant, ...more] = text.split('/');
  if (os !== '' && architecture !== '' && variant !== '' && more.length === 0)
    return { os, architecture, variant };
  throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a platform`, {
    hint: 'platforms look like linux/amd64 or linux/arm/v7',
  });
}

function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined ? [] : [variant])].join('/');
}

function ownPlatform(): string {
  const architectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return `linux/${architectures[process.arch] ?? process.arch}`;
}

function compressionOf({ mediaType }: Descriptor): LayerCompression {
  const known = LAYER_TYPES[mediaType];
  if (known !== undefined) return known;
  throw new ThimbleError('UNSUPPORTED', `Cannot read a layer of type ${JSON.stringify(mediaType)}`);
}
