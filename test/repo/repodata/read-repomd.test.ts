import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { readRepomd } from '../../../src/repo/formats/repodata/read-repomd.ts';

const SUM = 'ab'.repeat(32);
const data = (type: string, inner = '') =>
  `<data type="${type}"><checksum type="sha256">${SUM.toUpperCase()}</checksum><location href="repodata/x.xml"/>${inner}</data>`;

test('what a repomd.xml names is read, and the rest is passed over', () => {
  const inner = `<size>12</size><open-size>0</open-size><open-checksum type="sha">${'c'.repeat(40)}</open-checksum>
    <timestamp>17</timestamp><x:other xmlns:x="y">&amp;<![CDATA[ & ]]></x:other>`;
  const text = `<?xml version="1.0" encoding="UTF-8"?>\n<!-- by hand -->
    <repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>5</revision>${data('primary', inner)}${data('group')}</repomd>`;
  const primary = {
    type: 'primary',
    href: 'repodata/x.xml',
    checksum: { type: 'sha256', value: SUM },
    openChecksum: { type: 'sha', value: 'c'.repeat(40) },
    size: 12,
    openSize: 0,
    timestamp: 17,
  };
  const group = { type: 'group', href: 'repodata/x.xml', checksum: { type: 'sha256', value: SUM } };
  assert.deepEqual(readRepomd(Buffer.from(text)), [primary, group]);
  assert.deepEqual(readRepomd(Buffer.from('\ufeff<repomd/>')), []);
});

test('what is no repomd.xml is refused', () => {
  const whole = (inner: string) => `<repomd>${inner}</repomd>`;
  for (const bad of [
    '',
    ' \n',
    '<?xml version="1.0"?>',
    '<!-- <repomd/> -->',
    'text',
    '<html/>',
    '<repomd>',
    '<repomd/><repomd/>',
    '<repomd/>text',
    `<!DOCTYPE repomd [<!ENTITY a "b">]>${whole('')}`,
    whole('&a;'),
    whole('<data type="x"/>'),
    whole(data('')),
    whole(data('a') + data('a')),
    whole(data('a', '<size>-1</size>')),
    whole(data('a', '<size>1e3</size>')),
    whole(data('a', '<open-size>99999999999999999999</open-size>')),
    whole(data('a', '<checksum type="sha256">x</checksum>')),
    '<a>'.repeat(limits.repodata.depth + 1),
    whole(Array.from({ length: limits.repodata.records + 1 }, (_, index) => data(`t${index}`)).join('')),
    ' '.repeat(limits.repodata.repomd + 1),
  ]) {
    assert.throws(
      () => readRepomd(Buffer.from(bad)),
      (error) => isAirlockError(error, 'repodata.invalid'),
      bad.slice(0, 80),
    );
  }
  assert.throws(
    () => readRepomd(Buffer.from('<repomd>\xff</repomd>', 'latin1')),
    (error) => isAirlockError(error, 'repodata.invalid'),
  );
});
