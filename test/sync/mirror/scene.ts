/** A vendor's site, and a conductor that mirrors it. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { syncUpstream } from '../../../src/app/sync.ts';
import { type App, openApp } from '../../../src/app.ts';
import { type Progress, silent } from '../../../src/repo/progress.ts';
import type { SyncReport } from '../../../src/sync/mirror/mirror.ts';
import { makeSigner, type VendorSigner } from '../../media/vendor-site.ts';
import { digestOf } from '../../repo/http/support.ts';
import { type Held, Origin } from '../../support/origin.ts';
import { tempDir } from '../../support/temp-dir.ts';

export interface MirrorScene {
  readonly origin: Origin;
  readonly signer: VendorSigner;
  readonly data: string;
  app: App;
  /** Puts a file with its sidecars into a folder of the site. */
  publish(path: string, bytes: Buffer, more?: Partial<Held> & { signer?: VendorSigner | null }): Promise<void>;
  /** Bytes that the site sent of a path. */
  sent(path: string): number;
  /** Writes the configuration; the data directory is opened anew. */
  configure(rules: readonly string[], more?: string): Promise<void>;
  sync(options?: { dryRun?: boolean; signal?: AbortSignal; progress?: Progress }): Promise<SyncReport>;
  /** Paths that a repository publishes. */
  published(repository: string): Promise<string[]>;
}

/** Paths on the site are below this. */
export const ROOT = '/base/isos';

export const SIZE_DATE = '18-Nov-2021 19:54';

export async function mirrorScene(t: TestContext, keys = true): Promise<MirrorScene> {
  const dir = await tempDir(t);
  const data = path.join(dir, 'data');
  const signer = await makeSigner();
  const origin = await Origin.start(t);
  await mkdir(data);
  await writeFile(path.join(data, 'vendor.asc'), signer.publicKey);
  const scene: MirrorScene = {
    origin,
    signer,
    data,
    app: await openApp({ dataDir: data }),
    async publish(file, bytes, { signer: by = signer, ...more } = {}) {
      const digest = Buffer.from(digestOf(bytes).slice(7));
      origin.files.set(`${ROOT}/${file}`, { bytes, modified: new Date('2021-11-18T19:54:00Z'), ...more });
      origin.files.set(`${ROOT}/${file}.sha256sum`, { bytes: digest });
      if (by !== null) {
        const signature = Buffer.from(await by.sign(digest));
        origin.files.set(`${ROOT}/${file}.sha256sum.asc`, { bytes: signature });
      }
      for (const folder of [`${ROOT}/`, `${ROOT}/${path.posix.dirname(file)}/`]) listFiles(origin, folder);
    },
    sent: (file) => origin.sent(`${ROOT}/${file}`),
    async configure(rules, more = '') {
      const site = [`  site:`, `    url: ${origin.url}/base`, ...(keys ? ['    keys: [vendor.asc]'] : [])];
      const mirror = rules.map((rule) => `      - { kind: releases, path: isos, ${rule} }`);
      const text = ['upstreams:', ...site, '    mirror:', ...mirror, more].join('\n');
      await writeFile(path.join(data, 'airlock.yaml'), text);
      await scene.app.close();
      scene.app = await openApp({ dataDir: data });
    },
    sync: ({ dryRun = false, signal = new AbortController().signal, progress = silent } = {}) =>
      syncUpstream(scene.app, 'site', { dryRun, signal, progress, onForecast: () => undefined }),
    async published(repository) {
      const revision = (await scene.app.catalog.repository(repository))?.published ?? 0;
      const paths: string[] = [];
      for await (const { path: each } of scene.app.catalog.entries(repository, revision)) paths.push(each);
      return paths.sort();
    },
  };
  t.after(() => scene.app.close());
  return scene;
}

/** A listing in the manner of nginx, of what the site holds at the moment. */
function listFiles(origin: Origin, folder: string): void {
  origin.files.set(folder, (_request, response) => {
    const names = new Set<string>();
    for (const key of origin.files.keys()) {
      if (!key.startsWith(folder) || key === folder) continue;
      const rest = key.slice(folder.length);
      names.add(rest.includes('/') ? rest.slice(0, rest.indexOf('/') + 1) : rest);
    }
    const lines = [...names].sort().map((name) => {
      const held = origin.files.get(`${folder}${name}`);
      const size = typeof held === 'object' ? held.bytes.length : '-';
      return `<a href="${name}">${name}</a>   ${SIZE_DATE}   ${size}\n`;
    });
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<title>Index of x</title><pre><a href="../">../</a>\n${lines.join('')}</pre>`);
  });
}
