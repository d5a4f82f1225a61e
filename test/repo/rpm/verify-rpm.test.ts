/** The rules for digests and signatures of packages, on packages that our own builder makes; rpm's opinion: rpmkeys.test.ts. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';

import fc from 'fast-check';
import * as openpgp from 'openpgp';

import { isAirlockError } from '../../../src/errors.ts';
import { readVendorKeys, type VendorKey } from '../../../src/repo/formats/openpgp/key-files.ts';
import { openRpm } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { type RpmVerdict, type RpmVerifierOptions, rpmVerifier } from '../../../src/repo/formats/rpm/verify-rpm.ts';
import { countingSource } from '../../media/byte-sources.ts';
import { bin, buildRpm, int32, type RpmOptions, string, strings } from '../../media/rpm-builder.ts';
import {
  bareSubkey,
  days,
  flipped,
  makeKey,
  onlySubkey,
  publicBytes,
  type SignOptions,
  secret,
  sign,
} from '../openpgp/library-keys.ts';
import { makeOldKey, type OldKey, type Version3Options, version3 } from '../openpgp/old-openpgp.ts';
import { buildSigned, OLD_DIGESTS, type Signer } from './signed.ts';

const NOW = days(400);
const RELEASE = await makeKey();
const STRANGER = await makeKey({ name: 'stranger' });
const OLD = makeOldKey('rsa');
const KEYS = [...(await pinned(RELEASE)), ...(await readVendorKeys(OLD.certificate, NOW))];

async function pinned(key: openpgp.PrivateKey): Promise<VendorKey[]> {
  return await readVendorKeys(publicBytes(key), NOW);
}

const by =
  (key: openpgp.PrivateKey, options: SignOptions = {}): Signer =>
  (data) =>
    sign(key, data, options);
const v3 =
  (options: Version3Options = {}, key: OldKey = OLD): Signer =>
  (data) =>
    version3(key, data, options);
const garbage: Signer = () => Buffer.from('88');
const ofOtherBytes =
  (signer: Signer): Signer =>
  (data) =>
    signer(Buffer.concat([data, data]));

async function verify(file: Uint8Array, options: Partial<RpmVerifierOptions> = {}): Promise<RpmVerdict> {
  const source = countingSource(file);
  const rpm = await openRpm(source);
  return await rpmVerifier({ keys: KEYS, now: NOW, signatures: 'required', ...options })(source, rpm);
}

const codes = ({ problems }: RpmVerdict) => problems.map(({ code }) => code);

interface Case {
  readonly file: Uint8Array | Promise<{ readonly file: Uint8Array }>;
  readonly keys?: readonly VendorKey[];
  /** Codes of the problems; an empty list is what may come in. */
  readonly required: readonly string[];
  /** Default: as `required`. */
  readonly allowUnsigned?: readonly string[];
  /** Default: []. */
  readonly disabled?: readonly string[];
  /** Under `required`, when weak digests are accepted. Default: as `required`. */
  readonly weakAccepted?: readonly string[];
}

const WEAK = 'signature.weak-digest';

const EXPIRED = await makeKey({ name: 'expired', keyExpirationTime: 5 * 24 * 3600 });
const REVOKED = await makeKey({ name: 'revoked' });
const revocation = await REVOKED.revoke({ flag: openpgp.enums.reasonForRevocation.keyCompromised }, days(20));
const SUPERSEDED = await makeKey({ name: 'superseded' });
const retirement = await SUPERSEDED.revoke({ flag: openpgp.enums.reasonForRevocation.keySuperseded }, days(20));
const WITH_SUBKEY = await makeKey({ name: 'subkey', subkeys: [{ sign: true }] });
const subkey = secret(onlySubkey(WITH_SUBKEY).keyPacket);
const bare = Buffer.concat([publicBytes(RELEASE), bareSubkey(WITH_SUBKEY)]);

const CASES: Record<string, Case> = {
  'signed over the header': { file: buildSigned({}, { rsa: by(RELEASE) }), required: [] },
  'signed over the header, DSA tag': { file: buildSigned({}, { dsa: by(RELEASE) }), required: [] },
  'signed over header and payload': { file: buildSigned({}, { pgp: by(RELEASE) }), required: [] },
  'signed twice': { file: buildSigned({}, { rsa: by(RELEASE), gpg: by(RELEASE) }), required: [] },
  'of rpm 6': { file: buildSigned({ format: 6 }, { openpgp: [by(RELEASE)] }), required: [] },
  'of rpm 6, signed by a stranger too': {
    file: buildSigned({ format: 6 }, { openpgp: [by(STRANGER), by(RELEASE)] }),
    required: [],
  },
  'of rpm 6, signed by strangers only': {
    file: buildSigned({ format: 6 }, { openpgp: [by(STRANGER), by(STRANGER)] }),
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },
  'of rpm 6, one of two signatures bad': {
    file: buildSigned({ format: 6 }, { openpgp: [by(RELEASE), ofOtherBytes(by(RELEASE))] }),
    required: ['signature.bad'],
  },
  'of rpm 3, signed': { file: buildSigned({ format: 3 }, { pgp: v3() }), required: [] },
  unsigned: { file: buildSigned({}, {}), required: ['signature.missing'], allowUnsigned: [] },
  'signed by a stranger': {
    file: buildSigned({}, { rsa: by(STRANGER) }),
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },
  'signed by a stranger too': {
    file: buildSigned({}, { rsa: by(RELEASE), pgp: by(STRANGER) }),
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },
  'nothing pinned': {
    file: buildSigned({}, { rsa: by(RELEASE) }),
    keys: [],
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },
  'signature over other bytes': {
    file: buildSigned({}, { rsa: ofOtherBytes(by(RELEASE)) }),
    required: ['signature.bad'],
  },
  "stranger's signature over other bytes": {
    file: buildSigned({}, { rsa: ofOtherBytes(by(STRANGER)) }),
    required: ['signature.bad'],
  },
  'one good, one bad': {
    file: buildSigned({}, { rsa: by(RELEASE), pgp: ofOtherBytes(by(RELEASE)) }),
    required: ['signature.bad'],
  },
  'no OpenPGP': { file: buildSigned({}, { rsa: garbage }), required: ['signature.invalid'] },
  'two packets in one signature': {
    file: buildSigned(
      {},
      { rsa: async (data) => Buffer.concat([await sign(RELEASE, data), await sign(RELEASE, data)]) },
    ),
    required: ['signature.invalid'],
  },
  'text signature': {
    file: buildSigned({}, { rsa: by(RELEASE, { type: openpgp.enums.signature.text }) }),
    required: ['signature.bad'],
  },
  'of an unknown version': {
    file: buildSigned({}, { rsa: () => Buffer.of(0x88, 3, 99, 0, 0) }),
    required: ['signature.invalid'],
    allowUnsigned: [],
  },
  'of version 2': {
    file: buildSigned({}, { rsa: async (data) => (await v3()(data)).map((byte, at) => (at === 3 ? 2 : byte)) }),
    required: ['signature.invalid'],
    allowUnsigned: [],
  },
  'dated in the future': {
    file: buildSigned({}, { rsa: by(RELEASE, { at: days(1000) }) }),
    required: ['signature.bad'],
  },
  'dated before the key': {
    file: buildSigned({}, { rsa: by(RELEASE, { at: days(-10) }) }),
    required: ['signature.bad'],
  },
  'key expired before': {
    file: buildSigned({}, { rsa: by(EXPIRED) }),
    keys: await pinned(EXPIRED),
    required: ['signature.key-expired'],
  },
  'key expired since': {
    file: buildSigned({}, { rsa: by(EXPIRED, { at: days(4) }) }),
    keys: await pinned(EXPIRED),
    required: [],
  },
  'key revoked': {
    file: buildSigned({}, { rsa: by(REVOKED) }),
    keys: await pinned(revocation),
    required: ['signature.key-revoked'],
  },
  'key superseded since': {
    file: buildSigned({}, { rsa: by(SUPERSEDED) }),
    keys: await pinned(retirement),
    required: [],
  },
  'revoked key beside a good one': {
    file: buildSigned({}, { rsa: by(RELEASE), pgp: by(REVOKED) }),
    keys: [...KEYS, ...(await pinned(revocation))],
    required: [],
  },
  subkey: {
    file: buildSigned({}, { rsa: by(WITH_SUBKEY, { with: subkey }) }),
    keys: await pinned(WITH_SUBKEY),
    required: [],
  },
  'unbound subkey': {
    file: buildSigned({}, { rsa: by(WITH_SUBKEY, { with: subkey }) }),
    keys: await readVendorKeys(bare, NOW),
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },

  'version 3': { file: buildSigned({}, { rsa: v3() }), required: [] },
  'version 3 over header and payload, as el7 has it': {
    file: buildSigned(OLD_DIGESTS, { rsa: v3(), pgp: v3() }),
    required: [],
  },
  'version 3 over other bytes': { file: buildSigned({}, { rsa: ofOtherBytes(v3()) }), required: ['signature.bad'] },
  'version 3, cut off': {
    file: buildSigned({}, { rsa: async (data) => cut(Buffer.from(await v3()(data))) }),
    required: ['signature.invalid'],
  },
  'version 3 by a stranger': {
    file: buildSigned({}, { rsa: v3({}, makeOldKey('rsa')) }),
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },
  'version 3 of another type': {
    file: buildSigned({}, { rsa: v3({ type: 1 }) }),
    required: ['signature.bad'],
  },

  'payload not covered': {
    file: buildSigned(OLD_DIGESTS, { rsa: by(RELEASE) }),
    required: ['signature.missing', WEAK],
    disabled: [WEAK],
    weakAccepted: ['signature.missing'],
  },
  'unsigned, MD5 and SHA-1 only': {
    file: buildSigned(OLD_DIGESTS, {}),
    required: ['signature.missing', WEAK],
    allowUnsigned: [WEAK],
    disabled: [WEAK],
    weakAccepted: ['signature.missing'],
  },
  'no digests at all': {
    file: buildSigned({ ...OLD_DIGESTS, withoutSignature: [269, 273, 1004] }, {}),
    required: ['signature.missing', WEAK],
    allowUnsigned: [WEAK],
    disabled: [WEAK],
    weakAccepted: ['signature.missing'],
  },
  'signed over SHA-1, digests of SHA-256': { file: buildSigned({}, { rsa: v3({ hash: 'sha1' }) }), required: [] },
  'signed over SHA-1, no better digests': {
    file: buildSigned(OLD_DIGESTS, { rsa: v3({ hash: 'sha1' }), pgp: v3({ hash: 'sha1' }) }),
    required: [WEAK],
    disabled: [WEAK],
    weakAccepted: [],
  },
  'signed over SHA-256, by a stranger, no better digests': {
    file: buildSigned(OLD_DIGESTS, { pgp: by(STRANGER) }),
    required: ['signature.unknown-key'],
    allowUnsigned: [],
  },
  'signed header with a SHA-1 digest of the payload': {
    file: buildSigned(payloadDigestOf('sha1'), { rsa: by(RELEASE) }),
    required: [WEAK],
    disabled: [WEAK],
    weakAccepted: [],
  },
};

function cut(signature: Buffer): Buffer {
  const shorter = Buffer.from(signature.subarray(0, -10));
  shorter.writeUInt16BE(shorter.length - 3, 1);
  return shorter;
}

function payloadDigestOf(algorithm: 'sha1'): RpmOptions {
  const archive = Buffer.from('anything');
  const digest = createHash(algorithm).update(archive).digest('hex');
  return { archive, compressor: 'none', without: [5097], tags: [strings(5092, digest), int32(5093, 2)] };
}

describe('what may come in', () => {
  for (const [name, { file, keys = KEYS, ...expected }] of Object.entries(CASES)) {
    test(name, async () => {
      const bytes = file instanceof Uint8Array ? file : (await file).file;
      const under = async (options: Partial<RpmVerifierOptions>) => codes(await verify(bytes, { keys, ...options }));
      assert.deepEqual(await under({ signatures: 'required' }), expected.required, 'required');
      const allowUnsigned = expected.allowUnsigned ?? expected.required;
      assert.deepEqual(await under({ signatures: 'allow-unsigned' }), allowUnsigned, 'allow-unsigned');
      assert.deepEqual(await under({ signatures: 'disabled' }), expected.disabled ?? [], 'disabled');
      const weakAccepted = expected.weakAccepted ?? expected.required;
      assert.deepEqual(await under({ acceptWeakDigests: true }), weakAccepted, 'weak digests accepted');
    });
  }
});

describe('signatures of every kind', () => {
  for (const [name, options] of Object.entries({
    'Ed25519, old encoding': {},
    'Ed25519, new encoding': { type: 'curve25519' },
    'RSA 3072': { type: 'rsa', rsaBits: 3072 },
    'NIST P-256': { type: 'ecc', curve: 'nistP256' },
    'NIST P-384': { type: 'ecc', curve: 'nistP384' },
    'NIST P-521': { type: 'ecc', curve: 'nistP521' },
    'version 6, Ed25519': { type: 'curve25519', config: { v6Keys: true } },
  } satisfies Record<string, Parameters<typeof makeKey>[0]>)) {
    test(name, async () => {
      const key = await makeKey(options);
      const keys = await pinned(key);
      for (const hash of [openpgp.enums.hash.sha256, openpgp.enums.hash.sha512, openpgp.enums.hash.sha3_512]) {
        const [overHeader, overBoth] = [{ rsa: by(key, { hash }) }, { pgp: by(key, { hash }) }];
        for (const signers of [overHeader, overBoth]) {
          const { file, layout } = await buildSigned({}, signers);
          const verdict = await verify(file, { keys });
          assert.deepEqual(codes(verdict), []);
          assert.equal(verdict.verification.status, 'signature');
          const damaged = await verify(flipped(file, layout.header.dataOf(1004)), { keys });
          assert.deepEqual(codes(damaged), ['rpm.digest-mismatch', 'signature.bad']);
        }
      }
    });
  }

  for (const kind of ['rsa', 'dsa'] as const) {
    test(`version 3, ${kind}`, async () => {
      const key = makeOldKey(kind);
      const keys = await readVendorKeys(key.certificate, NOW);
      for (const hash of ['sha1', 'sha256', 'sha512'] as const) {
        const { file } = await buildSigned({}, { rsa: v3({ hash }, key), pgp: v3({ hash }, key) });
        const { verification } = await verify(file, { keys });
        assert.equal(verification.status, 'signature');
        assert.deepEqual(
          verification.checks.filter(({ check }) => check === 'signature').map(({ algorithm }) => algorithm),
          [hash, hash],
        );
      }
    });
  }
});

test('damaged digests are refused under any policy', async () => {
  const { file, layout } = await buildSigned({}, { rsa: by(RELEASE) });
  const wrongDigest = await buildSigned({ signatureTags: [string(273, '0'.repeat(64))] }, { rsa: by(RELEASE) });
  for (const damaged of [
    flipped(file, layout.header.dataOf(1004)),
    flipped(file, layout.payload + 20),
    flipped(file, layout.signature.dataOf(1004)),
    wrongDigest.file,
  ]) {
    for (const signatures of ['required', 'allow-unsigned', 'disabled'] as const) {
      const verdict = await verify(damaged, { signatures, acceptWeakDigests: true });
      assert.equal(codes(verdict)[0], 'rpm.digest-mismatch');
      assert.equal(verdict.verification.status, 'unverified');
    }
  }
});

test('a payload that was exchanged is told by its digest, or by the signature over it', async () => {
  const { file, layout } = await buildSigned(
    { ...OLD_DIGESTS, withoutSignature: [...OLD_DIGESTS.withoutSignature, 1004] },
    { pgp: v3() },
  );
  assert.deepEqual(codes(await verify(file)), []);
  assert.deepEqual(codes(await verify(flipped(file, layout.payload + 20))), ['signature.bad']);
});

test('what is known of a package is told', async () => {
  const { file } = await buildSigned({}, { rsa: by(WITH_SUBKEY, { with: subkey }) });
  const verdict = await verify(file, { keys: await pinned(WITH_SUBKEY) });
  assert.equal(verdict.digest, `sha256:${createHash('sha256').update(file).digest('hex')}`);
  assert.deepEqual(verdict.verification, {
    status: 'signature',
    checks: [
      { check: 'digest', result: 'passed', covers: ['header', 'payload'], algorithm: 'sha256' },
      {
        check: 'signature',
        result: 'passed',
        covers: ['header'],
        algorithm: 'sha256',
        keyId: onlySubkey(WITH_SUBKEY).getKeyID().toHex().toUpperCase(),
        fingerprint: WITH_SUBKEY.getFingerprint().toUpperCase(),
        userId: 'subkey <subkey@vendor.example>',
        signedAt: days(10).toISOString(),
      },
    ],
  });
});

test('a waiver stands in what is told', async () => {
  const { file } = await buildSigned(OLD_DIGESTS, {});
  const digests = [
    { check: 'digest', result: 'passed', covers: ['header'], algorithm: 'sha1', weak: true, waived: true },
    { check: 'digest', result: 'passed', covers: ['payload'], algorithm: 'md5', weak: true, waived: true },
  ];
  const { verification } = await verify(file, { signatures: 'disabled', acceptWeakDigests: true });
  assert.deepEqual(verification, {
    status: 'checksum',
    checks: [...digests, { check: 'signature', result: 'not-checked' }],
  });
  const unsigned = await verify(file, { signatures: 'allow-unsigned', acceptWeakDigests: true });
  assert.deepEqual(unsigned.verification.checks, [...digests, { check: 'signature', result: 'missing' }]);
  const strong = await verify((await buildSigned({}, {})).file, { signatures: 'disabled', acceptWeakDigests: true });
  assert.deepEqual(strong.verification.checks[0], {
    ...{ check: 'digest', result: 'passed', covers: ['header', 'payload'] },
    algorithm: 'sha256',
  });
});

test('an unknown key is named, and what to do', async () => {
  const { file } = await buildSigned({}, { rsa: by(STRANGER) });
  const fingerprint = STRANGER.getFingerprint().toUpperCase();
  const { problems, verification } = await verify(file);
  assert.match(problems[0]?.message ?? '', new RegExp(`RSAHEADER, over header: .*${fingerprint}.*vendor-key add`));
  assert.deepEqual(problems[0]?.details.signatures, [{ name: 'RSAHEADER', covers: ['header'] }]);
  const { checks, status } = (await verify(file, { signatures: 'allow-unsigned' })).verification;
  assert.equal(status, 'checksum');
  assert.equal(verification.status, 'checksum');
  assert.equal(checks[1]?.result, 'unknown-key');
  assert.equal(checks[1]?.fingerprint, fingerprint);
  assert.match(checks[1]?.note ?? '', /not pinned/);
});

test('the whole file is read once, in pieces', async () => {
  const archive = Buffer.alloc(5_000_000, 'payload');
  const { file } = await buildSigned({ archive, compressor: 'none' }, { rsa: by(RELEASE), pgp: by(RELEASE) });
  const source = countingSource(file);
  const rpm = await openRpm(source);
  const [before, told] = [source.bytes, [] as number[]];
  const verifier = rpmVerifier({ keys: KEYS, now: NOW, signatures: 'required' });
  const verdict = await verifier(source, rpm, { onBytes: (bytes) => told.push(bytes) });
  assert.deepEqual(codes(verdict), []);
  assert.equal(source.bytes - before, file.length);
  assert.equal(
    told.reduce((sum, bytes) => sum + bytes, 0),
    file.length,
  );
  assert.ok(source.largest <= 1024 * 1024);
});

test('reading can be stopped, and a source that gets shorter is told', async () => {
  const { file } = await buildSigned({}, { rsa: by(RELEASE) });
  const rpm = await openRpm(countingSource(file));
  const verifier = rpmVerifier({ keys: KEYS, now: NOW, signatures: 'required' });
  const signal = AbortSignal.abort(new Error('stopped'));
  await assert.rejects(verifier(countingSource(file), rpm, { signal }), /stopped/);
  await assert.rejects(verifier(countingSource(file.subarray(0, -3)), rpm), (error) =>
    isAirlockError(error, 'rpm.truncated'),
  );
});

test('a signature that is not even base64 is nobody’s business where signatures are disabled', async () => {
  const { file } = buildRpm({ format: 6, signatureTags: [strings(278, '!!!!')] });
  await assert.rejects(verify(file), (error) => isAirlockError(error, 'rpm.invalid'));
  assert.deepEqual(codes(await verify(file, { signatures: 'disabled' })), []);
  const long = buildRpm({ signatureTags: [bin(268, Buffer.alloc(70_000))] });
  await assert.rejects(verify(long.file), (error) => isAirlockError(error, 'rpm.limit'));
});

test('a signature whose time cannot be one is bad, and no crash', async () => {
  const { file, layout } = buildRpm();
  const packets = Buffer.from(await by(RELEASE)(file.subarray(layout.header.start, layout.header.end)));
  const time = packets.indexOf(Buffer.from([5, 0x82])); // a subpacket's length and type: the time, critical (RFC 9580 section 5.2.3.7)
  packets[time] = 38;
  const { problems } = await verify(buildRpm({ signatureTags: [bin(268, packets)] }).file);
  assert.ok(problems.length > 0);
  for (const { code } of problems) assert.match(code, /^signature\./);
});

test('signatures that were damaged in any way are never a crash, and never good', async () => {
  const signers = [by(RELEASE), v3(), by(await makeKey({ type: 'curve25519', config: { v6Keys: true } }))];
  for (const signer of signers) {
    const { file, layout } = buildRpm();
    const good = Buffer.from(await signer(file.subarray(layout.header.start, layout.header.end)));
    const damage = fc.record({
      bytes: fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), { maxLength: 4 }),
      end: fc.oneof(fc.constant(good.length), fc.integer({ min: 1, max: good.length })),
    });
    await fc.assert(
      fc.asyncProperty(damage, async ({ bytes, end }) => {
        const damaged = Buffer.from(good.subarray(0, end));
        for (const [at, mask] of bytes) if (at < end) damaged[at] = (damaged[at] ?? 0) ^ mask;
        const { problems, verification } = await verify(buildRpm({ signatureTags: [bin(268, damaged)] }).file);
        for (const { code } of problems) assert.match(code, /^signature\./);
        // what nobody vouches for may change: the issuer's id, the packet's header
        const isTold = problems.length > 0 || verification.status === 'signature';
        assert.ok(isTold);
        if (problems.length === 0) assert.deepEqual(damaged.subarray(-64), good.subarray(-64));
      }),
      { numRuns: 300 },
    );
  }
});
