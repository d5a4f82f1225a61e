import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { isAirlockError } from '../../../src/errors.ts';
import { checkDigests } from '../../../src/repo/formats/rpm/digests.ts';
import { openRpm } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { signaturesOf } from '../../../src/repo/formats/rpm/signatures.ts';
import { SIGTAG, TAG } from '../../../src/repo/formats/rpm/tags.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { type BuiltRpm, bin, buildRpm, int32, type RpmOptions, string, strings } from '../../media/rpm-builder.ts';
import { checkBuilt, openBuilt, refuses, refusesAtOnce } from './support.ts';

const states = async (options: RpmOptions) =>
  (await checkBuilt(options)).checks.map(
    ({ name, algorithm, covers, state }) => `${name} ${algorithm} ${covers.join('+')} ${state}`,
  );

test('the digests of each format', async () => {
  assert.deepEqual(await states({ format: 3 }), ['SIGMD5 md5 header+payload matched']);
  assert.deepEqual(await states({ format: 4 }), [
    'SHA1HEADER sha1 header matched',
    'SHA256HEADER sha256 header matched',
    'SIGMD5 md5 header+payload matched',
    'PAYLOADDIGEST sha256 payload matched',
    'PAYLOADDIGESTALT sha256 payload passed-over',
  ]);
  assert.deepEqual(await states({ format: 6 }), [
    'SHA256HEADER sha256 header matched',
    'SHA3_256HEADER sha3-256 header matched',
    'PAYLOADDIGEST sha256 payload matched',
    'PAYLOADDIGESTALT sha256 payload passed-over',
    'PAYLOADSHA512 sha512 payload matched',
    'PAYLOADSHA512ALT sha512 payload passed-over',
    'PAYLOADSHA3_256 sha3-256 payload matched',
    'PAYLOADSHA3_256ALT sha3-256 payload passed-over',
  ]);
});

test('the strongest digest of each part', async () => {
  const strongest = async (options: RpmOptions) => (await checkBuilt(options)).strongest;
  assert.deepEqual(await strongest({ format: 3 }), { header: 'md5', payload: 'md5' });
  assert.deepEqual(await strongest({ format: 4 }), { header: 'sha256', payload: 'sha256' });
  assert.deepEqual(await strongest({ format: 6 }), { header: 'sha3-256', payload: 'sha512' });
  const old = { without: [TAG.payloadDigest, TAG.payloadDigestAlt, TAG.payloadDigestAlgorithm] };
  assert.deepEqual(await strongest({ ...old, withoutSignature: [SIGTAG.sha256] }), { header: 'sha1', payload: 'md5' });
  const none = [SIGTAG.sha256, SIGTAG.sha1, SIGTAG.md5];
  assert.deepEqual(await strongest({ ...old, withoutSignature: none }), { header: null, payload: null });
});

test('other algorithms for the payload', async () => {
  const archive = Buffer.from('anything');
  const of = (algorithm: string) => strings(TAG.payloadDigest, createHash(algorithm).update(archive).digest('hex'));
  for (const [number, algorithm] of [
    [1, 'md5'],
    [2, 'sha1'],
    [9, 'sha384'],
    [10, 'sha512'],
    [11, 'sha224'],
    [12, 'sha3-256'],
    [14, 'sha3-512'],
  ] as const) {
    const { checks } = await checkBuilt({
      ...{ archive, compressor: 'none', without: [TAG.payloadDigestAlt] },
      tags: [int32(TAG.payloadDigestAlgorithm, number), of(algorithm)],
    });
    assert.deepEqual(checks.at(-1), { name: 'PAYLOADDIGEST', algorithm, covers: ['payload'], state: 'matched' });
  }
  const unknown = await checkBuilt({ tags: [int32(TAG.payloadDigestAlgorithm, 99)] });
  assert.equal(unknown.checks.at(-1)?.state, 'unknown-algorithm');
  assert.equal(unknown.strongest.payload, 'md5');
});

test('a payload that was unpacked on its way is told by its second digest', async () => {
  const packed = buildRpm();
  const wrong = strings(TAG.payloadDigest, createHash('sha256').update('the packed payload').digest('hex'));
  assert.deepEqual((await states({ compressor: 'none', tags: [wrong] })).slice(-2), [
    'PAYLOADDIGEST sha256 payload passed-over',
    'PAYLOADDIGESTALT sha256 payload matched',
  ]);
  // Alone it is a digest like any other, as rpm has it.
  await refuses(
    checkBuilt({ without: [TAG.payloadDigest] }),
    'rpm.digest-mismatch',
    /PAYLOADDIGESTALT \(over payload\)/,
  );
  assert.ok(packed.file.length > 0);
});

/** Flips one bit of the file. */
const flip =
  (at: (layout: BuiltRpm['layout']) => number) =>
  ({ file, layout }: BuiltRpm) => {
    const position = at(layout);
    file[position] = (file[position] ?? 0) ^ 1;
  };

async function mismatched(options: RpmOptions, patch: (built: BuiltRpm) => void): Promise<string[]> {
  let names: string[] = [];
  await assert.rejects(checkBuilt(options, patch), (error) => {
    assert.ok(isAirlockError(error, 'rpm.digest-mismatch'), String(error));
    const { mismatched: details } = error.details as {
      mismatched: { name: string; expected: string; found: string }[];
    };
    for (const { name, expected, found } of details) {
      assert.ok(error.message.includes(`${name} (over `));
      assert.notEqual(expected, found);
    }
    names = details.map(({ name }) => name);
    return true;
  });
  return names;
}

test('damage is named by the digests that fail', async () => {
  const summary = flip(({ header }) => header.dataOf(TAG.summary));
  const payload = flip((layout) => layout.payload + 20);
  assert.deepEqual(await mismatched({ format: 3 }, summary), ['SIGMD5']);
  assert.deepEqual(await mismatched({ format: 4 }, summary), ['SHA1HEADER', 'SHA256HEADER', 'SIGMD5']);
  assert.deepEqual(await mismatched({ format: 6 }, summary), ['SHA256HEADER', 'SHA3_256HEADER']);
  assert.deepEqual(await mismatched({ format: 4 }, payload), ['SIGMD5', 'PAYLOADDIGEST', 'PAYLOADDIGESTALT']);
  const all = ['PAYLOADDIGEST', 'PAYLOADDIGESTALT', 'PAYLOADSHA512', 'PAYLOADSHA512ALT', 'PAYLOADSHA3_256'];
  assert.deepEqual(await mismatched({ format: 6 }, payload), [...all, 'PAYLOADSHA3_256ALT']);
  assert.deepEqual(
    await mismatched(
      {},
      flip(({ signature }) => signature.dataOf(SIGTAG.md5)),
    ),
    ['SIGMD5'],
  );
  for (const [tag, name] of [
    [SIGTAG.sha1, 'SHA1HEADER'],
    [SIGTAG.sha256, 'SHA256HEADER'],
  ] as const) {
    assert.deepEqual(await mismatched({ signatureTags: [string(tag, '0'.repeat(tag === 269 ? 40 : 64))] }, () => {}), [
      name,
    ]);
  }
});

test('bytes behind the payload, or missing from it, do not go through', async () => {
  for (const format of [3, 4, 6] as const) {
    const { file } = buildRpm({ format });
    const longer = countingSource(Buffer.concat([file, Buffer.alloc(1)]));
    await refuses(checkDigests(longer, await openRpm(longer)), 'rpm.digest-mismatch', /payload/);
    await refuses(openRpm(countingSource(file.subarray(0, -1))), 'rpm.truncated', /the payload reaches to byte/);
  }
});

test('a source that gets shorter while it is read', async () => {
  const { file, rpm } = await openBuilt();
  await refuses(checkDigests(countingSource(file.subarray(0, -3)), rpm), 'rpm.truncated', /the payload/);
});

test('digests that are none', async () => {
  const bad: RpmOptions[] = [
    { signatureTags: [string(SIGTAG.sha1, '0'.repeat(38))] },
    { signatureTags: [string(SIGTAG.sha256, 'g'.repeat(64))] },
    { signatureTags: [string(SIGTAG.sha256, '')] },
    { signatureTags: [bin(SIGTAG.sha256, Buffer.alloc(32))] },
    { signatureTags: [bin(SIGTAG.md5, Buffer.alloc(15))] },
    { signatureTags: [string(SIGTAG.md5, '0'.repeat(32))] },
    { tags: [strings(TAG.payloadDigest, '0'.repeat(40))] },
    { tags: [int32(TAG.payloadDigestAlgorithm, 10)] },
    { tags: [int32(TAG.payloadDigestAlgorithm, 99), strings(TAG.payloadDigest, 'zz')] },
  ];
  for (const options of bad)
    await refuses(checkBuilt(options), 'rpm.invalid', /is no digest of its kind|does not hold/);
  const many = strings(TAG.payloadDigest, ...Array(17).fill('0'.repeat(64)));
  await refuses(checkBuilt({ tags: [many] }), 'rpm.limit', /17 payload digests/);
});

test('a package is read once, in pieces', async () => {
  const archive = Buffer.alloc(5_000_000, 'payload');
  const { source, rpm, file, layout } = await openBuilt({ archive, compressor: 'none' });
  const before = source.bytes;
  let told = 0;
  await checkDigests(source, rpm, (bytes) => {
    told += bytes;
  });
  assert.equal(source.bytes - before, file.length - layout.header.start);
  assert.equal(told, file.length - layout.header.start);
  assert.ok(source.largest <= 1024 * 1024);
  await assert.rejects(
    checkDigests(source, rpm, () => {
      throw new Error('stopped');
    }),
    /stopped/,
  );
});

test('signatures are handed out as they are, with what they cover', async () => {
  const [rsa, dsa, pgp, gpg] = ['rsa', 'dsa', 'pgp', 'gpg'].map((text) => Buffer.from(text));
  assert.ok(rsa && dsa && pgp && gpg);
  const { rpm, layout, file } = await openBuilt({
    signatureTags: [bin(268, rsa), bin(267, dsa), bin(1002, pgp), bin(1005, gpg)],
  });
  const overHeader = { covers: ['header'], range: { start: layout.header.start, end: layout.header.end } };
  const overBoth = { covers: ['header', 'payload'], range: { start: layout.header.start, end: file.length } };
  assert.deepEqual(signaturesOf(rpm), [
    { name: 'DSAHEADER', ...overHeader, packets: dsa },
    { name: 'RSAHEADER', ...overHeader, packets: rsa },
    { name: 'SIGPGP', ...overBoth, packets: pgp },
    { name: 'SIGGPG', ...overBoth, packets: gpg },
  ]);
  assert.deepEqual(signaturesOf((await openBuilt()).rpm), []);
});

test('signatures of rpm 6 are base64, any number of them', async () => {
  const packets = [Buffer.from([0x88, 1, 2, 3]), Buffer.from([0xc2, 0xff])];
  const { rpm, layout } = await openBuilt({
    format: 6,
    signatureTags: [strings(278, 'iAECAw==', 'wv8=\n')],
  });
  const range = { start: layout.header.start, end: layout.header.end };
  assert.deepEqual(
    signaturesOf(rpm),
    packets.map((bytes) => ({ name: 'OPENPGP', covers: ['header'], range, packets: bytes })),
  );
  for (const bad of ['', '!!!!', 'iAECAw==iAE', 'iAECAx==']) {
    const { rpm: damaged } = await openBuilt({ format: 6, signatureTags: [strings(278, bad)] });
    refusesAtOnce(() => signaturesOf(damaged), 'rpm.invalid', /not base64/);
  }
  const { rpm: many } = await openBuilt({ format: 6, signatureTags: [strings(278, ...Array(65).fill('iAE='))] });
  refusesAtOnce(() => signaturesOf(many), 'rpm.limit', /65 signatures/);
  const { rpm: long } = await openBuilt({ signatureTags: [bin(268, Buffer.alloc(70_000))] });
  refusesAtOnce(() => signaturesOf(long), 'rpm.limit', /70000 bytes/);
});
