import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeImage } from '../../../src/repo/formats/iso9660/look-inside.ts';
import type { IsoOptions, IsoTree } from '../../media/iso-builder.ts';
import { openBuilt, refuses } from './support.ts';

async function describeBuilt(tree: IsoTree, options: IsoOptions = {}) {
  const { iso } = await openBuilt(tree, options);
  return describeImage(iso);
}

const SQUASHFS = `hsqs${'\0'.repeat(92)}`;

test('a package-based image', async () => {
  const facts = await describeBuilt(
    {
      '.discinfo': '1725898694.12\n128T 6.2.6-15.sts.el7\nx86_64\n',
      '.treeinfo': '[general]\nfamily = 128T\nversion = 6.2.6\narch: x86_64\n',
      Packages: { '128T-6.2.6-15.sts.el7.x86_64.rpm': 'rpm' },
      LiveOS: { 'squashfs.img': SQUASHFS },
    },
    { volumeId: '128T-6.2.6', elTorito: Buffer.alloc(2048) },
  );
  assert.deepEqual(facts, {
    label: '128T-6.2.6',
    kind: 'package',
    treeinfo: { family: '128T', version: '6.2.6', arch: 'x86_64' },
    discinfo: ['1725898694.12', '128T 6.2.6-15.sts.el7', 'x86_64'],
    hasRpms: true,
    hasSquashfs: true,
    hasLiveOs: true,
    hasElTorito: true,
  });
});

test('an image to install', async () => {
  const facts = await describeBuilt({
    LiveOS: { 'rootfs.squashfs': SQUASHFS },
    'manifest.yaml': 'version: 6.3.0-107.r1.el7\ninstall-type: image\n',
  });
  assert.equal(facts.kind, 'image');
  assert.deepEqual(facts.manifest, { version: '6.3.0-107.r1.el7', 'install-type': 'image' });
  assert.equal(facts.hasSquashfs, true);
  assert.equal(facts.treeinfo, undefined);
});

test('what the manifest says goes before RPMs on board', async () => {
  const facts = await describeBuilt({ 'manifest.yaml': 'install-type: image', extra: { 'tool.rpm': 'rpm' } });
  assert.equal(facts.kind, 'image');
  assert.equal(facts.hasRpms, true);
});

test('anything else', async () => {
  const facts = await describeBuilt({ 'memtest.bin': 'x', 'fake.squashfs': 'not one', 'tiny.sfs': '', 'x.rpm': {} });
  assert.deepEqual(facts, {
    label: 'TEST',
    kind: 'unknown',
    hasRpms: false,
    hasSquashfs: false,
    hasLiveOs: false,
    hasElTorito: false,
  });
});

test('names of a plain tree are upper case', async () => {
  assert.equal((await describeBuilt({ pkgs: { 'a.rpm': 'x' } }, { rockRidge: false })).kind, 'package');
});

describe('treeinfo', () => {
  test('as productmd writes it', async () => {
    const text = '[header]\ntype = x\n\n[release]\nname = SSR\nversion = 7.1.0\n\n[tree]\narch = aarch64\n';
    assert.deepEqual((await describeBuilt({ '.treeinfo': text })).treeinfo, {
      family: 'SSR',
      version: '7.1.0',
      arch: 'aarch64',
    });
  });

  test('that makes no sense gives nothing', async () => {
    for (const text of ['', '\0\0\0', '[general', 'family = x', `[${'['.repeat(1000)}`, '[general]\nfamily\nversion']) {
      assert.deepEqual((await describeBuilt({ '.treeinfo': text })).treeinfo, {});
    }
  });
});

describe('a manifest', () => {
  const manifestOf = async (text: string | Uint8Array, name = 'manifest.yaml') =>
    (await describeBuilt({ [name]: text })).manifest;

  test('in JSON', async () => {
    const text = '{"version": "7.1.0", "build": 6.10, "beta": true, "parts": [1, 2], "none": null}';
    assert.deepEqual(await manifestOf(text, 'manifest.json'), {
      version: '7.1.0',
      build: '6.10',
      beta: 'true',
      none: 'null',
    });
  });

  test('keeps numbers as written, and only what stands at the top', async () => {
    assert.deepEqual(await manifestOf('version: 6.10\nnested:\n  version: 9\nlist: [a]\n'), { version: '6.10' });
  });

  test('that cannot be parsed, or is something else, gives no facts', async () => {
    for (const text of ['', 'text', '- a\n- b\n', '[', '\0', '# comment'])
      assert.equal(await manifestOf(text), undefined);
    assert.equal((await describeBuilt({ 'manifest.yaml': { file: 'x' } })).manifest, undefined);
  });

  test('with aliases does not grow', async () => {
    const levels = Array.from({ length: 30 }, (_, n) => `l${n + 1}: &l${n + 1} [*l${n}, *l${n}]`);
    assert.deepEqual(await manifestOf(['l0: &l0 x', ...levels, 'copy: *l0'].join('\n')), { l0: 'x' });
  });

  test('that is deep or wide is not followed', async () => {
    for (const text of ['['.repeat(65_000), '{a: '.repeat(16_000), `a: ${'- '.repeat(30_000)}`, '? '.repeat(30_000)]) {
      const facts = await manifestOf(text);
      assert.ok(facts === undefined || Object.keys(facts).length <= 1);
    }
    const wide = await manifestOf(Array.from({ length: 5000 }, (_, n) => `k${n}: v`).join('\n'));
    assert.equal(Object.keys(wide ?? {}).length, 64);
  });

  test('longer than 64 KiB is read up to a whole line', async () => {
    const { iso, source } = await openBuilt({ 'manifest.yaml': `version: 1\n${'x: "yyyyy"\n'.repeat(600_000)}` });
    const { bytes } = source;
    assert.deepEqual((await describeImage(iso)).manifest, { version: '1', x: 'yyyyy' });
    assert.ok(source.bytes - bytes < 80_000);
  });

  test('cannot reach prototypes', async () => {
    const facts = (await manifestOf('__proto__: polluted\nconstructor: x\n')) ?? {};
    assert.deepEqual(Object.keys(facts).sort(), ['__proto__', 'constructor']);
    assert.equal(Object.getPrototypeOf(facts), Object.prototype);
  });
});

test('texts are cut and free of control characters', async () => {
  const facts = await describeBuilt(
    {
      '.discinfo': `\x1b[31mred\n${'x'.repeat(1000)}\n${'line\n'.repeat(1000)}`,
      'manifest.yaml': '"a\\u001bb": "c\\nd"',
    },
    { volumeId: 'A\x1b[2JB' },
  );
  assert.equal(facts.label, 'A [2JB');
  assert.equal(facts.discinfo?.[0], '[31mred');
  assert.equal(facts.discinfo?.[1]?.length, 256);
  assert.equal(facts.discinfo?.length, 64);
  assert.deepEqual(facts.manifest, { 'a b': 'c d' });
});

test('a damaged image is refused, not described', async () => {
  const { iso } = await openBuilt({ 'a.rpm': 'x', d: { 'b.rpm': '' } }, {}, ({ image, layout }) => {
    image.fill(0, layout.directory('d').offset, layout.directory('d').offset + 2048);
  });
  await refuses(describeImage(iso), 'iso.invalid', /a sector of a directory is empty/);
});
