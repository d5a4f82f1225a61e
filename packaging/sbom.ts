/** The software bill of materials, as CycloneDX 1.6 has it (https://cyclonedx.org/docs/1.6/json/). */
import { createHash } from 'node:crypto';
import { type ProductionPackage, runtimeFolder } from './production-packages.ts';

export interface SbomSubject {
  readonly version: string;
  readonly description: string;
  readonly license: string;
  /** When what is described was made. */
  readonly created: Date;
}

interface Component {
  readonly [key: string]: unknown;
  readonly 'bom-ref': string;
}

/** The document, always the same for the same subject and packages. */
export function sbom(subject: SbomSubject, packages: readonly ProductionPackage[]): Buffer {
  const components = packages.map((one) => (one.folder === runtimeFolder() ? runtime(one) : library(one)));
  const own = `pkg:generic/airlock@${subject.version}`;
  const refs = new Map(packages.map(({ folder }, index) => [folder, components[index]?.['bom-ref'] ?? '']));
  const refsOf = (folders: Iterable<string>) => [...new Set(folders)].map((folder) => refs.get(folder) ?? '').sort();
  const required = new Set(packages.flatMap(({ requires }) => requires));
  const body = {
    metadata: {
      timestamp: subject.created.toISOString(),
      tools: { components: [{ type: 'application', name: 'airlock packaging', version: subject.version }] },
      component: {
        type: 'application',
        'bom-ref': own,
        name: 'airlock',
        version: subject.version,
        description: subject.description,
        licenses: licenses(subject.license),
        purl: own,
      },
    },
    components,
    dependencies: [
      { ref: own, dependsOn: refsOf(packages.map(({ folder }) => folder).filter((folder) => !required.has(folder))) },
      ...packages.map(({ folder, requires }) => ({ ref: refs.get(folder), dependsOn: refsOf(requires) })),
    ],
  };
  const head = { bomFormat: 'CycloneDX', specVersion: '1.6', serialNumber: `urn:uuid:${uuidOf(body)}`, version: 1 };
  const schema = 'http://cyclonedx.org/schema/bom-1.6.schema.json';
  return Buffer.from(`${JSON.stringify({ $schema: schema, ...head, ...body }, null, 2)}\n`);
}

function library({ folder, name, version, integrity, license }: ProductionPackage): Component {
  const [group, plainName] = name.startsWith('@') ? name.split('/') : [undefined, name];
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  return {
    type: 'library',
    'bom-ref': `${purl}#${folder}`, // one version may be there twice
    ...(group === undefined ? {} : { group }),
    name: plainName,
    version,
    scope: 'required',
    ...(integrity === undefined ? {} : { hashes: [hash(integrity)] }),
    licenses: licenses(license),
    purl,
    properties: [{ name: 'airlock:folder', value: folder }],
  };
}

/** Node.js, and the libraries that are built into it: for those who look for known vulnerabilities. */
function runtime(one: ProductionPackage): Component {
  const inside = process.versions.node === one.version ? Object.entries(process.versions) : [];
  return {
    ...library(one),
    type: 'platform',
    description: 'The Node.js runtime',
    cpe: `cpe:2.3:a:nodejs:node.js:${one.version}:*:*:*:*:*:*:*`,
    components: inside
      .filter(([name, version]) => name !== 'node' && name !== 'modules' && version !== undefined)
      .map(([name, version]) => ({ type: 'library', 'bom-ref': `node/${name}`, name, version }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

/** An identifier of SPDX, or an expression of several; what is not known is left out. */
function licenses(license: string | undefined): object[] {
  if (license === undefined) return [];
  return [/[ ()]/.test(license) ? { expression: license } : { license: { id: license } }];
}

/** Subresource Integrity, in the way of CycloneDX: `{"alg": "SHA-512", "content": "<hex>"}`. */
function hash(integrity: string): object {
  const [algorithm = '', base64 = ''] = integrity.split(' ', 1)[0]?.split(/-(.*)/s) ?? [];
  return { alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(base64, 'base64').toString('hex') };
}

/** A UUID of version 8 (RFC 9562, 5.8). */
function uuidOf(body: unknown): string {
  const bytes = createHash('sha256').update(JSON.stringify(body)).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
