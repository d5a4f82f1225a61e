import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import * as openpgp from 'openpgp';

import { isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { readVendorKeys, type VendorKey } from '../../../src/repo/formats/openpgp/key-files.ts';
import { PACKET, splitPackets } from '../../../src/repo/formats/openpgp/packets.ts';
import {
  type SignatureOutcome,
  signatureError,
  verifyDetached,
} from '../../../src/repo/formats/openpgp/verify-detached.ts';
import {
  armoredSignature,
  bareSubkey,
  bindSubkey,
  days,
  flipped,
  makeKey,
  onlySubkey,
  packetOf,
  publicBytes,
  secret,
  selfSignature,
  sign,
} from './library-keys.ts';
import { makeOldKey, version4 } from './old-openpgp.ts';

const TEXT = Buffer.from('ab'.repeat(32));
const NOW = days(50);

/** As armour: signature packets, whatever they hold. */
function armored(...packets: Uint8Array[]): Uint8Array {
  return armoredSignature(Buffer.concat(packets));
}

async function pinned(...keys: openpgp.PrivateKey[]): Promise<VendorKey[]> {
  return (await Promise.all(keys.map((key) => readVendorKeys(publicBytes(key), NOW)))).flat();
}

async function expectOutcome(
  outcome: SignatureOutcome,
  message: RegExp,
  keys: readonly VendorKey[],
  signature: Uint8Array,
  signed: Uint8Array = TEXT,
): Promise<void> {
  const verdict = await verifyDetached({ signed, signature, keys, now: NOW });
  assert.equal(verdict.outcome, outcome, verdict.message);
  assert.match(verdict.message, message);
}

describe('one signature', () => {
  test('good: everything is told', async () => {
    const key = await makeKey({ subkeys: [{ sign: true }] });
    const subkey = onlySubkey(key);
    const signature = armored(await sign(key, TEXT, { with: secret(subkey.keyPacket) }));
    const verdict = await verifyDetached({ signed: TEXT, signature, keys: await pinned(key), now: NOW });
    const fingerprint = key.getFingerprint().toUpperCase();
    const subkeyFingerprint = subkey.getFingerprint().toUpperCase();
    assert.deepEqual(verdict, {
      outcome: 'good',
      keyId: subkeyFingerprint.slice(-16),
      fingerprint,
      subkeyFingerprint,
      userId: 'release <release@vendor.example>',
      signedAt: days(10),
      hash: 'SHA256',
      message: `Good SHA256 signature of 2024-01-11T00:00:00Z by subkey ${subkeyFingerprint} of key ${fingerprint} "release <release@vendor.example>".`,
    });
  });

  for (const [name, options] of Object.entries({
    'Ed25519, new encoding': { type: 'curve25519' },
    'RSA 3072': { type: 'rsa', rsaBits: 3072 },
    'NIST P-256': { type: 'ecc', curve: 'nistP256' },
    'version 6, Ed25519': { type: 'curve25519', config: { v6Keys: true } },
    'version 6, Ed448 with a signing subkey': { type: 'curve448', subkeys: [{ sign: true }], config: { v6Keys: true } },
  } satisfies Record<string, Partial<openpgp.KeyOptions>>)) {
    test(`good and bad: ${name}`, async () => {
      const key = await makeKey(options);
      const signer = key.subkeys[0]?.keyPacket ?? key.keyPacket;
      const hash =
        signer.algorithm === openpgp.enums.publicKey.ed448 ? openpgp.enums.hash.sha512 : openpgp.enums.hash.sha256;
      const signature = await sign(key, TEXT, { with: secret(signer), hash });
      const keys = await pinned(key);
      await expectOutcome('good', /^Good SHA/, keys, signature);
      await expectOutcome('bad', /did not sign these bytes/, keys, signature, flipped(TEXT, 0));
    });
  }

  test('at a time that is none, really signed', async () => {
    const key = makeOldKey('rsa');
    const keys = await readVendorKeys(key.certificate, NOW);
    const sign = (created?: Uint8Array) => armored(version4(key, TEXT, 0, created));
    await expectOutcome('good', /^Good/, keys, sign());
    const signature = sign(Buffer.alloc(9, 0xff));
    const verdict = await verifyDetached({ signed: TEXT, signature, keys, now: NOW });
    assert.deepEqual([verdict.outcome, verdict.signedAt], ['bad', undefined], verdict.message);
  });

  test('over nothing', async () => {
    const key = await makeKey();
    const keys = await pinned(key);
    await expectOutcome('good', /^Good/, keys, await sign(key, new Uint8Array(0)), new Uint8Array(0));
    await expectOutcome('bad', /did not sign/, keys, await sign(key, new Uint8Array(0)));
  });

  test('no key is pinned', async () => {
    const key = await makeKey();
    const fingerprint = key.getFingerprint().toUpperCase();
    await expectOutcome(
      'unknown-key',
      new RegExp(`${fingerprint}.*no vendor key is pinned`),
      [],
      await sign(key, TEXT),
    );
  });

  test('a key without key flags may sign, as old keys do', async () => {
    const key = await makeKey();
    const parts = [packetOf(key, PACKET.publicKey), packetOf(key, PACKET.userId)];
    const bytes = Buffer.concat([...parts, await selfSignature(key, { keyFlags: null })]);
    await expectOutcome('good', /^Good/, await readVendorKeys(bytes, NOW), await sign(key, TEXT));
  });

  test('a subkey that its owner bound for encryption only', async () => {
    const key = await makeKey();
    const other = await makeKey({ subkeys: [{ sign: true }] });
    const subkey = onlySubkey(other).keyPacket;
    const binding = await bindSubkey(key, subkey, {
      keyFlags: Uint8Array.of(openpgp.enums.keyFlags.encryptStorage),
    });
    const keys = await readVendorKeys(Buffer.concat([publicBytes(key), bareSubkey(other), binding]), NOW);
    const signature = await sign(other, TEXT, { with: secret(subkey) });
    await expectOutcome('unknown-key', /is not meant for signing/, keys, signature);
  });

  test('a soft revocation after the signature leaves it good, a hard one does not', async () => {
    const { keySuperseded, keyRetired, keyCompromised, noReason } = openpgp.enums.reasonForRevocation;
    const key = await makeKey();
    const signature = await sign(key, TEXT, { at: days(10) });
    for (const [flag, at, outcome] of [
      [keySuperseded, 20, 'good'],
      [keyRetired, 20, 'good'],
      [keySuperseded, 10, 'key-revoked'],
      [keyRetired, 5, 'key-revoked'],
      [keyCompromised, 20, 'key-revoked'],
      [noReason, 20, 'key-revoked'],
      [keyCompromised, 400, 'key-revoked'],
    ] as const) {
      await expectOutcome(outcome, /./, await pinned(await key.revoke({ flag }, days(at))), signature);
    }
  });

  test('an expiry that the owner brought forward counts', async () => {
    const key = await makeKey();
    const shorter = await openpgp.reformatKey({
      privateKey: key,
      userIDs: [{ name: 'release', email: 'release@vendor.example' }],
      keyExpirationTime: 5 * 24 * 3600,
      date: days(3),
      format: 'object',
    });
    const merged = await key.update(shorter.privateKey);
    await expectOutcome('key-expired', /expired on 2024-01-06/, await pinned(merged), await sign(key, TEXT));
  });

  test('the fingerprint that the signature names counts, not the key id alone', async () => {
    const key = await makeKey();
    const signature = Buffer.from(await sign(key, TEXT));
    const fingerprint = signature.indexOf(Buffer.from(key.getFingerprint(), 'hex'));
    assert.notEqual(fingerprint, -1);
    const keys = await pinned(key);
    await expectOutcome('unknown-key', /which is not pinned/, keys, flipped(signature, fingerprint));
    await expectOutcome('bad', /did not sign/, keys, flipped(signature, signature.length - 1));
  });

  test('a version 3 signature says what to do', async () => {
    const body = Buffer.concat([
      Buffer.from([3, 5, 0, 0x60, 0, 0, 0]),
      Buffer.from('0123456789ABCDEF', 'hex'),
      Buffer.from([1, 2, 0xaa, 0xbb, 0, 1, 1]),
    ]);
    const v3 = Buffer.concat([Buffer.from([0x88, body.length]), body]);
    await expectOutcome('unparsable', /key 0123456789ABCDEF.*version 3.*version 4 signature/, [], armored(v3));
    const key = await makeKey();
    await expectOutcome('good', /^Good/, await pinned(key), armored(v3, await sign(key, TEXT)));
  });

  test('an unknown algorithm or version', async () => {
    const key = await makeKey();
    const good = await sign(key, TEXT);
    const header = good.length - (splitPackets(good, 'signature.invalid', 1)[0]?.body.length ?? 0);
    const changed = (offset: number, value: number) => {
      const copy = Uint8Array.from(good);
      copy[header + offset] = value;
      return copy;
    };
    await expectOutcome('unparsable', /unsupported version 5/, await pinned(key), changed(0, 5));
    await expectOutcome('unparsable', /algorithm that is not supported/, await pinned(key), changed(2, 99));
    await expectOutcome('unparsable', /unsupported hash algorithm 99/, await pinned(key), changed(3, 99));
  });
});

describe('several signatures', () => {
  test('what decides', async () => {
    const [one, stranger] = [await makeKey({ name: 'one' }), await makeKey()];
    const two = await makeKey({ name: 'two', type: 'rsa', rsaBits: 2048 });
    const expired = await makeKey({ name: 'expired', keyExpirationTime: 3600 });
    const keys = await pinned(one, two, expired);
    const sigs = {
      good: await sign(one, TEXT),
      alsoGood: await sign(two, TEXT),
      bad: await sign(two, flipped(TEXT, 1)),
      unknown: await sign(stranger, TEXT),
      unknownAndWrong: await sign(stranger, flipped(TEXT, 1)),
      expired: await sign(expired, TEXT),
      weak: await sign(two, TEXT, { hash: openpgp.enums.hash.sha1 }),
      damaged: Uint8Array.of(0x88, 3, 4, 0, 1),
    };
    const table: [(keyof typeof sigs)[], SignatureOutcome][] = [
      [['good', 'alsoGood'], 'good'],
      [['unknown', 'good'], 'good'],
      [['unknownAndWrong', 'good'], 'good'],
      [['damaged', 'good'], 'good'],
      [['expired', 'good'], 'good'],
      [['weak', 'good'], 'good'],
      [['good', 'bad'], 'bad'],
      [['bad', 'good'], 'bad'],
      [['unknown', 'expired'], 'key-expired'],
      [['unknown', 'weak'], 'weak-digest'],
      [['damaged', 'unknown'], 'unknown-key'],
      [['damaged'], 'unparsable'],
    ];
    for (const [names, outcome] of table) {
      const packets = names.map((name) => sigs[name]);
      await expectOutcome(outcome, /./, keys, Buffer.concat(packets));
      await expectOutcome(outcome, /./, keys, Buffer.concat(packets.map((packet) => armored(packet))));
    }
  });

  test('no more than a few', async () => {
    const key = await makeKey();
    const signature = await sign(key, TEXT);
    const many = (count: number) => Buffer.concat(new Array<Uint8Array>(count).fill(signature));
    await expectOutcome('good', /^Good/, await pinned(key), many(limits.signaturePackets));
    await expectOutcome('unparsable', /more than 64/, await pinned(key), many(limits.signaturePackets + 1));
  });
});

describe('what is no detached signature', () => {
  const cases: Record<string, [string | (() => Promise<Uint8Array>), RegExp]> = {
    'an empty file': ['', /is empty/],
    'a web page': ['\n<!doctype html><title>Sign in</title>', /is a web page/],
    'UTF-16': [async () => Buffer.from('\ufeff-----BEGIN PGP', 'utf16le'), /UTF-16/],
    words: ['404 not found', /neither armoured/],
    'a checksum file': [TEXT.toString(), /neither armoured/],
    'a clear-signed text': ['-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n', /clear-signed/],
    'an armoured message': [
      '-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n',
      /is an OpenPGP message/,
    ],
    'other armour': ['-----BEGIN PGP ARMORED FILE-----\n\n', /"ARMORED FILE"/],
    'armour without its end': ['-----BEGIN PGP SIGNATURE-----\n\nwqgE', /END line is missing/],
    'armour without its blank line': ['-----BEGIN PGP SIGNATURE-----\nwqgE\n-----END PGP SIGNATURE-----', /blank line/],
    'armour that is not base64': ['-----BEGIN PGP SIGNATURE-----\n\nw*gE\n-----END PGP SIGNATURE-----', /not base64/],
    'armour with nothing in it': ['-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----', /not base64/],
    'a public key': [async () => Buffer.from((await makeKey()).toPublic().armor()), /is a public key/],
    'a public key, binary': [async () => publicBytes(await makeKey()), /is a public key/],
    'a private key': [async () => Buffer.from((await makeKey()).armor()), /is a private key/],
    'a private key, binary': [async () => (await makeKey()).write(), /is a private key/],
    'a marker alone': [async () => Uint8Array.of(0xca, 3, 0x50, 0x47, 0x50), /holds no signature/],
    'a compressed packet': [async () => Uint8Array.of(0xa3, 1, 2, 3), /carries its own content/],
    'a literal packet': [async () => Uint8Array.of(0xcb, 1, 2), /carries its own content/],
    'a packet that goes on after the end': [
      async () => Uint8Array.of(0xc2, 0xff, 0xff, 0xff, 0xff, 0xff, 4),
      /cut off at byte 0/,
    ],
    'half a packet header': [async () => Uint8Array.of(0xc2), /cut off at byte 0/],
    'too long': [async () => new Uint8Array(limits.signatureFile + 1), /65537 bytes/],
  };
  for (const [name, [content, message]] of Object.entries(cases)) {
    test(name, async () => {
      const signature = typeof content === 'string' ? Buffer.from(content) : await content();
      await expectOutcome('unparsable', message, [], signature);
    });
  }

  test('armour as mail programs and Windows leave it', async () => {
    const key = await makeKey();
    const text = Buffer.from(armored(await sign(key, TEXT))).toString();
    const keys = await pinned(key);
    for (const variant of [
      text.replaceAll('\n', '\r\n'),
      `\uFEFF${text}`,
      `Here it is:\n\n${text}\n-- \nthe vendor\n`,
      text.replace('-----\n\n', '-----\nVersion: GnuPG v2\nComment: \u00e9\n\n'),
      text.replace('-----\n\n', '-----\n \t\n'),
      text.replaceAll('\n', ' \n'),
      text.replace(/\n=.{4}\n/, '\n'),
    ]) {
      await expectOutcome('good', /^Good/, keys, Buffer.from(variant));
    }
  });
});

test('the library is loaded at first use only', () => {
  const script = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ resolve(specifier, context, next) { loaded.push(specifier); return next(specifier, context); } });
    const { verifyDetached } = await import('./src/repo/formats/openpgp/verify-detached.ts');
    await import('./src/repo/formats/openpgp/vendor-keys.ts');
    const before = loaded.includes('openpgp');
    await verifyDetached({ signed: new Uint8Array(0), signature: Uint8Array.of(0x88, 1, 4), keys: [] });
    console.log(before, loaded.includes('openpgp'));`;
  const root = path.join(import.meta.dirname, '../../..');
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { cwd: root });
  assert.equal(output.toString(), 'false true\n');
});

test('the error for each verdict', async () => {
  const verdict = { keyId: 'A'.repeat(16), fingerprint: 'B'.repeat(40), message: 'No.' };
  const codes = {
    bad: 'signature.bad',
    'unknown-key': 'signature.unknown-key',
    'key-revoked': 'signature.key-revoked',
    'key-expired': 'signature.key-expired',
    'weak-digest': 'signature.weak-digest',
    unparsable: 'signature.invalid',
  } as const;
  for (const [outcome, code] of Object.entries(codes)) {
    const error = signatureError({ ...verdict, outcome: outcome as keyof typeof codes });
    assert.ok(isAirlockError(error, code));
    assert.equal(error.exitCode, 4);
    assert.equal(error.message, 'No.');
    assert.equal(error.details.fingerprint, verdict.fingerprint);
  }
});

test('any damage: never good, never an exception', async () => {
  const key = await makeKey({ type: 'rsa', rsaBits: 2048 });
  const [keys, signature] = [await pinned(key), await sign(key, TEXT)];
  const damage = fc.array(fc.tuple(fc.nat(signature.length - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 3,
  });
  await fc.assert(
    fc.asyncProperty(damage, async (changes) => {
      const damaged = Uint8Array.from(signature);
      for (const [at, bits] of changes) damaged[at] = (damaged[at] ?? 0) ^ bits;
      if (Buffer.from(damaged).equals(signature)) return;
      const { outcome, signedAt } = await verifyDetached({ signed: TEXT, signature: damaged, keys, now: NOW });
      // what stands outside of the hashed part (the packet's header, hints on the maker) may change without harm
      if (outcome === 'good') assert.deepEqual(signedAt, days(10));
      if (outcome === 'good') assert.ok(onlyUnhashedDiffers(signature, damaged), Buffer.from(damaged).toString('hex'));
    }),
    { numRuns: 300 },
  );
});

test('any bytes: a verdict', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, framed) => {
      const packet = Buffer.concat([Uint8Array.of(0xc0 | PACKET.signature, 0xff, 0, 0, 0, bytes.length), bytes]);
      const { outcome } = await verifyDetached({
        signed: TEXT,
        signature: framed ? packet : bytes,
        keys: [],
        now: NOW,
      });
      assert.ok(outcome === 'unparsable' || outcome === 'unknown-key');
    }),
    { numRuns: 500 },
  );
});

/** RFC 9580 section 5.2.3: version to hashed subpackets is signed; so is the signature itself, by being one. */
function onlyUnhashedDiffers(original: Uint8Array, damaged: Uint8Array): boolean {
  const [a, b] = [original, damaged].map(
    (bytes) => splitPackets(bytes, 'signature.invalid', 2)[0]?.body ?? assert.fail(),
  );
  if (a === undefined || b === undefined) return false;
  const hashed = 6 + Buffer.from(a).readUInt16BE(4);
  return Buffer.from(a.subarray(0, hashed)).equals(b.subarray(0, hashed));
}
