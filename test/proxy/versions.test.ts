/** Which source has which versions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { airlock, airlockJson } from '../support/cli.ts';
import { Origin } from '../support/origin.ts';
import { get, router } from './router.ts';

interface Status {
  readonly versions: readonly {
    source: string;
    trouble: string | null;
    versions: readonly { path: string }[] | null;
  }[];
}

function releases(...versions: string[]) {
  const list = versions.map((version) => {
    const file = `SSR-${version}.x86_64.iso`;
    return {
      release: version.slice(0, 3),
      version,
      file,
      repository: 'images',
      path: `${version.slice(0, 3)}/${file}`,
    };
  });
  return { bytes: Buffer.from(JSON.stringify(list)) };
}

test('all sources are asked which versions they have, at once and not each time', async (t) => {
  const [a, b, gone, site] = [
    await Origin.start(t),
    await Origin.start(t),
    await Origin.start(t),
    await Origin.start(t),
  ];
  a.files.set('/api/v1/releases', releases('6.3.0-107.r1.el7', '6.2.1-1.r1.el7'));
  b.files.set('/api/v1/releases', releases('6.3.0-107.r1.el7'));
  await gone.stop();
  const sites = [{ name: 'ssr', url: site.url, hosts: [], bandwidth: Number.POSITIVE_INFINITY }];
  const { url } = await router(t, { conductors: [a, b, gone], sites });
  const answers = await Promise.all(Array.from({ length: 5 }, () => get(`${url}/api/v1/sources/versions`)));
  const shown = JSON.parse(String(answers[0]?.body)) as Status['versions'];
  const paths = shown.map(({ versions }) => versions?.map(({ path }) => path) ?? null);
  assert.deepEqual(paths, [
    ['/repos/images/6.3/SSR-6.3.0-107.r1.el7.x86_64.iso', '/repos/images/6.2/SSR-6.2.1-1.r1.el7.x86_64.iso'],
    ['/repos/images/6.3/SSR-6.3.0-107.r1.el7.x86_64.iso'],
    null,
    null,
  ]);
  assert.match(shown[2]?.trouble ?? '', /cannot be reached/);
  assert.equal(shown[3]?.trouble, null, 'a site on the internet has no such list');
  assert.deepEqual([a.asked.length, b.asked.length, site.asked.length], [1, 1, 0]);

  const { code, stdout } = await airlock(['proxy', 'status', '--url', url]);
  assert.equal(code, 0);
  const where = `conductor ${a.url}, conductor ${b.url}`;
  const row = stdout.split('\n').find((line) => line.includes('6.3.0-107') && line.includes(where));
  assert.ok(row !== undefined, stdout);
  assert.match(stdout, new RegExp(`could not be asked: what conductor ${gone.url} has`));
  const { json } = await airlockJson<Status>(['proxy', 'status', '--url', url]);
  assert.deepEqual(json.versions.length, 4);
  const { paths: api } = JSON.parse(String((await get(`${url}/api/v1/openapi.json`)).body)) as { paths: object };
  assert.ok('/api/v1/sources/versions' in api);
});

test('an answer that is no list is told of', async (t) => {
  const [odd, missing] = [await Origin.start(t), await Origin.start(t)];
  odd.files.set('/api/v1/releases', { bytes: Buffer.from('<html>') });
  const { url } = await router(t, { conductors: [odd, missing] });
  const shown = JSON.parse(String((await get(`${url}/api/v1/sources/versions`)).body)) as Status['versions'];
  for (const { versions, trouble } of shown) {
    assert.equal(versions, null);
    assert.match(trouble ?? '', /does not answer as a conductor does/);
  }
});
