import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import * as openpgp from 'openpgp';

import { type ErrorCode, isAirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { readVendorKeys } from '../../../src/repo/formats/openpgp/key-files.ts';
import { PACKET } from '../../../src/repo/formats/openpgp/packets.ts';
import {
  addVendorKey,
  listVendorKeys,
  loadVendorKeys,
  removeVendorKey,
} from '../../../src/repo/formats/openpgp/vendor-keys.ts';
import { verifyDetached } from '../../../src/repo/formats/openpgp/verify-detached.ts';
import { needs } from '../../support/needs.ts';
import { Gnupg } from './gnupg.ts';
import {
  bareSubkey,
  days,
  flipped,
  makeKey,
  onlySubkey,
  packetOf,
  publicBytes,
  secret,
  selfSignature,
  sign,
  statement,
} from './library-keys.ts';

const NOW = days(50);
const TEXT = Buffer.from('cd'.repeat(32));
const now = NOW;

let data = '';
beforeEach(() => {
  data = mkdtempSync(path.join(tmpdir(), 'airlock-vendor-keys-'));
});
afterEach(() => rmSync(data, { recursive: true, force: true }));

function keyring(): string {
  return path.join(data, 'keys', 'vendor');
}

function fingerprintOf(key: openpgp.PrivateKey): string {
  return key.getFingerprint().toUpperCase();
}

function armored(key: openpgp.PrivateKey): Uint8Array {
  return Buffer.from(key.toPublic().armor());
}

async function refused(doing: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(doing, (error) => {
    assert.ok(isAirlockError(error, code), String(error));
    assert.match(error.message, message);
    return true;
  });
}

describe('adding', () => {
  test('an armoured key: what is told, what is stored', async () => {
    const key = await makeKey({ subkeys: [{ sign: true }], keyExpirationTime: 366 * 24 * 3600 });
    const [added, ...others] = await addVendorKey(data, armored(key), { now });
    const subkey = onlySubkey(key).getFingerprint().toUpperCase();
    const fingerprint = fingerprintOf(key);
    assert.equal(others.length, 0);
    assert.deepEqual(added, {
      fingerprint,
      keyId: fingerprint.slice(-16),
      algorithm: 'ed25519',
      userIds: ['release <release@vendor.example>'],
      created: days(0),
      expires: days(366),
      revoked: null,
      signingKeys: [
        { fingerprint, keyId: fingerprint.slice(-16), expires: days(366) },
        { fingerprint: subkey, keyId: subkey.slice(-16), expires: days(366) },
      ],
    });
    assert.deepEqual(readdirSync(keyring()), [`${fingerprint}.asc`]);
    const stored = await openpgp.readKey({
      armoredKey: readFileSync(path.join(keyring(), `${fingerprint}.asc`), 'utf8'),
    });
    assert.equal(stored.getFingerprint().toUpperCase(), fingerprint);
    assert.deepEqual(await listVendorKeys(data, NOW), [added]);
  });

  test('a binary file of several keys, and armoured blocks one after another', async () => {
    const keys = [await makeKey({ name: 'a' }), await makeKey({ name: 'b' }), await makeKey({ name: 'c' })];
    const fingerprints = keys.map(fingerprintOf).sort();
    const added = await addVendorKey(data, Buffer.concat(keys.map(publicBytes)), { now });
    assert.deepEqual(added.map(({ fingerprint }) => fingerprint).sort(), fingerprints);
    rmSync(keyring(), { recursive: true });
    await addVendorKey(data, Buffer.concat(keys.map(armored)), { now });
    assert.deepEqual(
      (await listVendorKeys(data, NOW)).map(({ fingerprint }) => fingerprint),
      fingerprints,
    );
  });

  test('the same key twice in a file', async () => {
    const key = await makeKey();
    const added = await addVendorKey(data, Buffer.concat([armored(key), armored(key)]), { now });
    assert.equal(added.length, 1);
  });

  test('the key that is named, in every usual spelling', async () => {
    const [wanted, other] = [await makeKey(), await makeKey({ name: 'other' })];
    const file = Buffer.concat([armored(other), armored(wanted)]);
    const plain = fingerprintOf(wanted);
    const groups = plain.match(/.{4}/g)?.join(' ') ?? '';
    for (const fingerprint of [
      plain,
      plain.toLowerCase(),
      `0x${plain}`,
      ` ${groups} `,
      groups.replace(/^((?:\S+ ){5})/, '$1 '),
      plain.match(/.{2}/g)?.join(':').toLowerCase() ?? '',
    ]) {
      const added = await addVendorKey(data, file, { fingerprint, now });
      assert.deepEqual(
        added.map((key) => key.fingerprint),
        [plain],
      );
    }
    assert.deepEqual(readdirSync(keyring()), [`${plain}.asc`]);
  });

  test('a fingerprint that is not in the file, short ids and other words', async () => {
    const key = await makeKey({ subkeys: [{ sign: true }] });
    const plain = fingerprintOf(key);
    const add = (fingerprint: string) => addVendorKey(data, armored(key), { fingerprint, now });
    const wrong = `${plain.slice(1)}${plain.startsWith('0') ? '1' : '0'}`;
    await refused(add(wrong), 'key.fingerprint-mismatch', new RegExp(`not hold the key ${wrong}; it holds ${plain}`));
    await refused(add(plain.slice(-16)), 'key.fingerprint-mismatch', /short key id.*full fingerprint/);
    await refused(add(`0x${plain.slice(-8)}`), 'key.fingerprint-mismatch', /short key id/);
    await refused(add(plain.slice(1)), 'key.fingerprint-mismatch', /short key id/);
    await refused(add(`${plain}0`), 'key.fingerprint-mismatch', /is not a fingerprint/);
    await refused(add(''), 'key.fingerprint-mismatch', /is not a fingerprint/);
    await refused(add('release@vendor.example'), 'key.fingerprint-mismatch', /is not a fingerprint/);
    const subkey = onlySubkey(key).getFingerprint();
    await refused(add(subkey), 'key.fingerprint-mismatch', new RegExp(`${plain} \\(which has that subkey`));
    assert.deepEqual(readdirSync(data), []);
  });

  test('a private key, whatever is with it: nothing is stored', async () => {
    const [good, leaked] = [await makeKey(), await makeKey({ name: 'leaked', subkeys: [{ sign: true }] })];
    const protectedKey = await openpgp.encryptKey({ privateKey: leaked, passphrase: 'x' });
    const files = [
      Buffer.from(leaked.armor()),
      leaked.write(),
      Buffer.from(protectedKey.armor()),
      Buffer.concat([publicBytes(good), leaked.write()]),
      Buffer.concat([armored(good), Buffer.from(leaked.armor())]),
    ];
    for (const file of files) {
      await refused(addVendorKey(data, file, { now }), 'key.invalid', /is a private key|holds a private key/);
      await refused(addVendorKey(data, file, { fingerprint: fingerprintOf(good), now }), 'key.invalid', /private key/);
    }
    assert.deepEqual(readdirSync(data), []);
  });

  test('one key of a file is useless: none is stored', async () => {
    const [good, forged] = [await makeKey(), await makeKey({ name: 'forged' })];
    const file = Buffer.concat([publicBytes(good), flipped(publicBytes(forged), -3)]);
    await refused(addVendorKey(data, file, { now }), 'key.invalid', /no valid self-signature/);
    assert.deepEqual(readdirSync(data), []);
    const added = await addVendorKey(data, file, { fingerprint: fingerprintOf(good), now });
    assert.equal(added.length, 1);
  });

  test('keys that could never verify anything', async () => {
    const weak = await makeKey({ type: 'rsa', rsaBits: 1024, config: { minRSABits: 1024 } });
    await refused(addVendorKey(data, publicBytes(weak), { now }), 'key.invalid', /RSA key of 1024 bits/);
    const future = await makeKey({ date: days(60) });
    await refused(addVendorKey(data, publicBytes(future), { now }), 'key.invalid', /check the clock/);
    const nobody = publicBytes(await makeKey()).subarray(0, 53);
    await refused(addVendorKey(data, nobody, { now }), 'key.invalid', /no valid self-signature/);
  });

  test('a version 3 key says what to do, and does not hide the others', async () => {
    const good = await makeKey();
    const v3 = Uint8Array.of(0x99, 0, 14, 3, 0x30, 0, 0, 0, 0, 0, 1, 0, 8, 0xff, 0, 2, 3);
    await refused(addVendorKey(data, v3, { now }), 'key.invalid', /version 3 key.*current key/);
    const file = Buffer.concat([v3, publicBytes(good)]);
    await refused(addVendorKey(data, file, { now }), 'key.invalid', /version 3 key.*--fingerprint/);
    assert.equal((await addVendorKey(data, file, { fingerprint: fingerprintOf(good), now })).length, 1);
    await refused(
      addVendorKey(data, file, { fingerprint: 'ab'.repeat(20), now }),
      'key.fingerprint-mismatch',
      /an unreadable version 3 key, /,
    );
  });

  test('what is no key', async () => {
    const key = await makeKey();
    const cases: [Uint8Array, RegExp][] = [
      [Buffer.from(''), /is empty/],
      [Buffer.from('<html>'), /is a web page/],
      [Buffer.from('hello'), /neither armoured/],
      [await sign(key, TEXT), /is a signature or a revocation certificate/],
      [Buffer.from('-----BEGIN PGP SIGNATURE-----\n'), /is a signature, not a key/],
      [armored(key).subarray(0, 200), /END line is missing/],
      [publicBytes(key).subarray(0, -1), /cut off/],
      [Buffer.alloc(limits.keyFile + 1, 0x99), /1048577 bytes/],
      [Buffer.concat(new Array(limits.keyPackets + 1).fill(Uint8Array.of(0xce, 0))), /more than 10000/],
      [Uint8Array.of(0xc6, 1, 9), /version 9 key/],
      [Uint8Array.of(0xc6, 2, 4, 0), /damaged/],
    ];
    for (const [file, message] of cases) await refused(addVendorKey(data, file, { now }), 'key.invalid', message);
    assert.deepEqual(readdirSync(data), []);
  });

  test('any bytes: keys, or key.invalid', async () => {
    const key = publicBytes(await makeKey({ subkeys: [{ sign: true }] }));
    const damaged = fc.tuple(fc.nat(key.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, bits]) => {
      const copy = Uint8Array.from(key);
      copy[at] = (copy[at] ?? 0) ^ bits;
      return copy;
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), async (bytes) => {
        await readVendorKeys(bytes, NOW).catch((error) =>
          assert.ok(isAirlockError(error, 'key.invalid'), String(error)),
        );
      }),
      { numRuns: 500 },
    );
  });
});

test('user ids: only those that the key vouches for, and that are not revoked', async () => {
  const key = await makeKey({ userIDs: [{ name: 'first' }, { name: 'second' }] });
  const [, second] = key.users;
  assert.ok(second?.userID);
  const about = { key: key.keyPacket, userID: second.userID };
  const revocation = await statement(key.keyPacket, openpgp.enums.signature.certRevocation, about, {}, days(3));
  second.revocationSignatures.push(revocation);
  const stranger = packetOf(await makeKey({ name: 'stranger' }), PACKET.userId);
  const [facts] = await readVendorKeys(Buffer.concat([publicBytes(key), stranger]), NOW);
  assert.deepEqual(facts?.userIds, ['first']);
  const again = await selfSignature(await withOnly(key, second), {}, days(9));
  const [healed] = await readVendorKeys(Buffer.concat([publicBytes(key), again]), NOW);
  assert.deepEqual(healed?.userIds, ['first', 'second']);
});

/** The key as if `user` were its first and only one. */
async function withOnly(key: openpgp.PrivateKey, user: openpgp.User): Promise<openpgp.PrivateKey> {
  const copy = await openpgp.readPrivateKey({ binaryKey: key.write() });
  copy.users = [user];
  return copy;
}

describe('adding again', () => {
  test('a revocation is taken over and never lost', async () => {
    const key = await makeKey();
    const { keySuperseded, keyCompromised } = openpgp.enums.reasonForRevocation;
    const superseded = await key.revoke({ flag: keySuperseded }, days(20));
    const compromised = await key.revoke({ flag: keyCompromised }, days(30));
    const verdict = async () =>
      (
        await verifyDetached({
          signed: TEXT,
          signature: await sign(key, TEXT),
          keys: await loadVendorKeys(data, NOW),
          now,
        })
      ).outcome;

    await addVendorKey(data, armored(key), { now });
    assert.equal(await verdict(), 'good');
    const [soft] = await addVendorKey(data, armored(superseded), { now });
    assert.deepEqual(soft?.revoked, { at: days(20), reason: 'superseded', hard: false });
    assert.equal(await verdict(), 'good');
    const [hard] = await addVendorKey(data, armored(compromised), { now });
    assert.deepEqual(hard?.revoked, { at: days(30), reason: 'compromised', hard: true });
    assert.equal(await verdict(), 'key-revoked');
    const [after] = await addVendorKey(data, armored(key), { now });
    assert.equal(after?.revoked?.hard, true);
    assert.equal(await verdict(), 'key-revoked');
  });

  test('a new subkey and a new expiry are taken over, and the file does not grow without need', async () => {
    const key = await makeKey({ keyExpirationTime: 30 * 24 * 3600 });
    await addVendorKey(data, armored(key), { now });
    const userIDs = [{ name: 'release', email: 'release@vendor.example' }];
    const longer = await openpgp.reformatKey({
      privateKey: key,
      userIDs,
      keyExpirationTime: 90 * 24 * 3600,
      date: days(40),
      format: 'object',
    });
    const withSubkey = await longer.privateKey.addSubkey({
      type: 'ecc',
      curve: 'ed25519Legacy',
      sign: true,
      date: days(41),
    });
    const [added] = await addVendorKey(data, armored(withSubkey), { now });
    assert.deepEqual(added?.expires, days(90));
    assert.equal(added?.signingKeys.length, 2);
    const file = path.join(keyring(), `${fingerprintOf(key)}.asc`);
    const before = readFileSync(file);
    await addVendorKey(data, armored(withSubkey), { now });
    await addVendorKey(data, armored(key), { now });
    assert.deepEqual(readFileSync(file), before);
    const signature = await sign(withSubkey, TEXT, { with: secret(onlySubkey(withSubkey).keyPacket), at: days(45) });
    const { outcome } = await verifyDetached({ signed: TEXT, signature, keys: await loadVendorKeys(data, NOW), now });
    assert.equal(outcome, 'good');
  });

  test('a forged subkey in a second file gains nothing', async () => {
    const [key, attacker] = [await makeKey(), await makeKey({ name: 'attacker', subkeys: [{ sign: true }] })];
    await addVendorKey(data, armored(key), { now });
    const forged = Buffer.concat([publicBytes(key), bareSubkey(attacker)]);
    const [added] = await addVendorKey(data, forged, { fingerprint: fingerprintOf(key), now });
    assert.equal(added?.signingKeys.length, 1);
    const signature = await sign(attacker, TEXT, { with: secret(onlySubkey(attacker).keyPacket) });
    const verdict = await verifyDetached({ signed: TEXT, signature, keys: await loadVendorKeys(data, NOW), now });
    assert.equal(verdict.outcome, 'unknown-key');
    assert.match(verdict.message, /anybody may have put it there/);
  });
});

describe('the keyring', () => {
  test('is empty where there is none', async () => {
    assert.deepEqual(await listVendorKeys(data), []);
    assert.deepEqual(await listVendorKeys(path.join(data, 'nowhere')), []);
  });

  test('removing', async () => {
    const [one, two] = [await makeKey(), await makeKey({ name: 'two' })];
    await addVendorKey(data, Buffer.concat([publicBytes(one), publicBytes(two)]), { now });
    await removeVendorKey(data, `0x${fingerprintOf(one).toLowerCase()}`);
    assert.deepEqual(
      (await listVendorKeys(data, NOW)).map(({ fingerprint }) => fingerprint),
      [fingerprintOf(two)],
    );
    await refused(removeVendorKey(data, fingerprintOf(one)), 'key.not-found', /no vendor key/i);
    await refused(removeVendorKey(data, fingerprintOf(two).slice(-16)), 'usage.invalid', /full fingerprint/);
    await refused(removeVendorKey(data, '../../airlock'), 'usage.invalid', /full fingerprint/);
    assert.equal((await listVendorKeys(data, NOW)).length, 1);
  });

  test('other files in it are left alone, also what a killed process left', async () => {
    const key = await makeKey();
    await addVendorKey(data, armored(key), { now });
    for (const name of [
      'README',
      'x.asc',
      `${fingerprintOf(key)}.asc.0123456789abcdef.tmp`,
      `${fingerprintOf(key).toLowerCase()}.asc`,
    ]) {
      writeFileSync(path.join(keyring(), name), 'x');
    }
    assert.equal((await listVendorKeys(data, NOW)).length, 1);
  });

  test('a damaged or exchanged file is named', async () => {
    const [key, other] = [await makeKey(), await makeKey({ name: 'other' })];
    mkdirSync(keyring(), { recursive: true });
    const file = path.join(keyring(), `${fingerprintOf(key)}.asc`);
    for (const content of [
      armored(other),
      armored(key).subarray(0, 100),
      Buffer.alloc(0),
      Buffer.alloc(limits.keyFile + 2, 0x99),
    ]) {
      writeFileSync(file, content);
      await refused(
        loadVendorKeys(data, NOW),
        'key.invalid',
        new RegExp(`${fingerprintOf(key)}.asc cannot be used.*add the key again`),
      );
    }
  });

  test('a clock that stands in 1970 refuses, and does not break the keyring', async () => {
    const key = await makeKey();
    await addVendorKey(data, armored(key), { now });
    const early = new Date(0);
    const keys = await loadVendorKeys(data, early);
    assert.equal(keys.length, 1);
    const verdict = await verifyDetached({ signed: TEXT, signature: await sign(key, TEXT), keys, now: early });
    assert.notEqual(verdict.outcome, 'good');
  });
});

test('keys that gpg exported', needs('gpg'), async () => {
  using gpg = new Gnupg();
  const [rsa, split] = [gpg.makeKey('rsa', 'rsa3072'), gpg.makeKey('split', 'ed25519', 'cert', '2y')];
  const subkey = gpg.addSubkey(split, 'ed25519', 'sign', '1y');
  gpg.addSubkey(split, 'cv25519', 'encr');
  const file = gpg.run(['--armor', '--export', rsa, split]);
  const added = await addVendorKey(data, file);
  const facts = new Map(added.map((key) => [key.fingerprint, key]));
  assert.equal(facts.get(rsa)?.algorithm, 'RSA 3072');
  assert.deepEqual(facts.get(rsa)?.userIds, ['rsa <rsa@vendor.example>']);
  assert.equal(facts.get(rsa)?.expires, null);
  assert.notEqual(facts.get(split)?.expires, null);
  assert.deepEqual(
    facts.get(split)?.signingKeys.map(({ fingerprint }) => fingerprint),
    [subkey],
  );
  await refused(addVendorKey(data, gpg.run(['--armor', '--export-secret-keys', rsa])), 'key.invalid', /private key/);

  // and back: gpg reads what was stored
  using other = new Gnupg();
  for (const name of readdirSync(keyring())) other.run(['--import', path.join(keyring(), name)]);
  assert.deepEqual(other.fingerprints(split), gpg.fingerprints(split));

  const encryptionOnly = gpg.makeKey('no-signing', 'ed25519', 'cert');
  gpg.addSubkey(encryptionOnly, 'cv25519', 'encr');
  await refused(addVendorKey(data, gpg.export(encryptionOnly)), 'key.invalid', /no key that may sign/);
});
