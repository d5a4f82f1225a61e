/**
 * One table, two judges: GnuPG and our verification look at the same keys and signatures. They must agree; where we
 * differ on purpose, the row says why.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as openpgp from 'openpgp';
import { readVendorKeys, type VendorKey } from '../../../src/repo/formats/openpgp/key-files.ts';
import { PACKET, splitPackets } from '../../../src/repo/formats/openpgp/packets.ts';
import { type SignatureOutcome, verifyDetached } from '../../../src/repo/formats/openpgp/verify-detached.ts';
import { needs } from '../../support/needs.ts';
import { Gnupg, type GpgVerdict, gpgArmor, gpgVerify } from './gnupg.ts';
import {
  asSubkeyOf,
  bareSubkey,
  bindSubkey,
  days,
  flipped,
  makeKey,
  onlySubkey,
  packetBytes,
  packetOf,
  publicBytes,
  secret,
  selfSignature,
  sign,
  statement,
} from './library-keys.ts';

const TEXT = Buffer.from('8f0e6f6b5c9bba4cd0c5b4d4e0a1f3c2b1a09f8e7d6c5b4a39281706f5e4d3c2');

interface Row {
  readonly keys: readonly Uint8Array[];
  readonly signature: Uint8Array;
  readonly signed?: Uint8Array;
  readonly at?: Date;
  readonly outcome: SignatureOutcome;
  /** gpg's outcome where it differs from ours, and why that is right. */
  readonly differs?: { readonly gpg: SignatureOutcome; readonly because: string };
}

/** gpg's keywords in our words: doc/DETAILS of GnuPG, the numbers are error codes of libgpg-error. */
const WORDS: Readonly<Record<string, SignatureOutcome>> = {
  GOODSIG: 'good',
  BADSIG: 'bad',
  EXPSIG: 'bad',
  EXPKEYSIG: 'key-expired',
  REVKEYSIG: 'key-revoked',
  'ERRSIG:1': 'unknown-key', // general error: the subkey is not cross-certified
  'ERRSIG:5': 'weak-digest', // digest algorithm refused
  'ERRSIG:9': 'unknown-key', // no public key
  'ERRSIG:32': 'unparsable', // signature class
  'ERRSIG:39': 'bad', // time conflict
  'ERRSIG:125': 'unknown-key', // wrong key usage
};

describe('GnuPG and Airlock agree', needs('gpg'), () => {
  let gpg: Gnupg;
  before(() => {
    gpg = new Gnupg();
  });
  after(() => gpg[Symbol.dispose]());

  const rows: Record<string, () => Row | Promise<Row>> = {
    'RSA 3072, primary key signs': () => {
      const key = gpg.makeKey('rsa', 'rsa3072');
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'good' };
    },
    'Ed25519, armoured signature': () => {
      const key = gpg.makeKey('ed', 'ed25519');
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT, ['--armor']), outcome: 'good' };
    },
    'NIST P-384': () => {
      const key = gpg.makeKey('nist', 'nistp384');
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'good' };
    },
    'primary key certifies, RSA subkey signs': () => {
      const key = gpg.makeKey('offline', 'ed25519', 'cert');
      gpg.addSubkey(key, 'rsa3072');
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'good' };
    },
    'primary key certifies, Ed25519 subkey signs': () => {
      const key = gpg.makeKey('offline-ed', 'ed25519', 'cert');
      gpg.addSubkey(key, 'ed25519');
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'good' };
    },
    'key made by the library': async () => {
      const key = await makeKey();
      return { keys: [publicBytes(key)], signature: await sign(key, TEXT), outcome: 'good' };
    },
    'key made by the library, with a signing subkey': async () => {
      const key = await makeKey({ subkeys: [{ sign: true }] });
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket) });
      return { keys: [publicBytes(key)], signature, outcome: 'good' };
    },
    'SHA-1 in the self-signatures of the key': () => {
      const key = gpg.run([
        '--cert-digest-algo',
        'SHA1',
        '--quick-generate-key',
        'old-style',
        'rsa2048',
        'sign',
        'never',
      ]);
      assert.equal(key.length, 0);
      const [fingerprint = ''] = gpg.fingerprints('old-style');
      return { keys: [gpg.export(fingerprint)], signature: gpg.sign([fingerprint], TEXT), outcome: 'good' };
    },
    'text signature, line ends changed on the way': async () => {
      const key = await makeKey();
      const signature = await sign(key, Buffer.from('a  x\r\nb  y\r\n'), { type: openpgp.enums.signature.text });
      return { keys: [publicBytes(key)], signature, signed: Buffer.from('a  x\nb  y\n'), outcome: 'good' };
    },
    'text signature by gpg': () => {
      const key = gpg.makeKey('text', 'ed25519');
      const signature = gpg.sign([key], Buffer.from('a  x\nb  y\n'), ['--textmode']);
      return { keys: [gpg.export(key)], signature, signed: Buffer.from('a  x\r\nb  y\r\n'), outcome: 'good' };
    },
    'binary signature, line ends changed on the way': async () => {
      const key = await makeKey();
      const signature = await sign(key, Buffer.from('a  x\r\n'));
      return { keys: [publicBytes(key)], signature, signed: Buffer.from('a  x\n'), outcome: 'bad' };
    },

    'one byte of the text flipped': async () => {
      const key = await makeKey();
      return { keys: [publicBytes(key)], signature: await sign(key, TEXT), signed: flipped(TEXT, 5), outcome: 'bad' };
    },
    'last byte of the text missing': async () => {
      const key = await makeKey();
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT),
        signed: TEXT.subarray(0, -1),
        outcome: 'bad',
      };
    },
    'one byte of the signature flipped': async () => {
      const key = await makeKey();
      return { keys: [publicBytes(key)], signature: flipped(await sign(key, TEXT), -3), outcome: 'bad' };
    },
    'date of the signature changed': async () => {
      const key = await makeKey();
      const signature = await sign(key, TEXT);
      const date = Buffer.from(signature).indexOf(Buffer.from([5, 0x82, 0x65]));
      assert.notEqual(date, -1);
      return { keys: [publicBytes(key)], signature: flipped(signature, date + 5), outcome: 'bad' };
    },
    'another key': async () => {
      const [pinned, other] = [await makeKey(), await makeKey({ name: 'other' })];
      return { keys: [publicBytes(pinned)], signature: await sign(other, TEXT), outcome: 'unknown-key' };
    },

    'two signatures, one by a key that is not pinned': async () => {
      const [pinned, other] = [await makeKey(), await makeKey({ name: 'other' })];
      const signature = Buffer.concat([await sign(other, TEXT), await sign(pinned, TEXT)]);
      return { keys: [publicBytes(pinned)], signature, outcome: 'good' };
    },
    'two signatures, both pinned': () => {
      const [old, current] = [gpg.makeKey('old', 'rsa2048'), gpg.makeKey('current', 'ed25519')];
      const signature = gpg.sign([old, current], TEXT, ['--armor']);
      return { keys: [gpg.export(old), gpg.export(current)], signature, outcome: 'good' };
    },
    'two signatures, the other one bad': async () => {
      const [one, two] = [await makeKey(), await makeKey({ name: 'other' })];
      const signature = Buffer.concat([await sign(one, TEXT), await sign(two, flipped(TEXT, 0))]);
      return { keys: [publicBytes(one), publicBytes(two)], signature, outcome: 'bad' };
    },
    'two signatures, the other one with SHA-1': async () => {
      const [one, two] = [await makeKey(), await makeKey({ name: 'other', type: 'rsa', rsaBits: 2048 })];
      const weak = await sign(two, TEXT, { hash: openpgp.enums.hash.sha1 });
      const signature = Buffer.concat([weak, await sign(one, TEXT)]);
      return { keys: [publicBytes(one), publicBytes(two)], signature, outcome: 'good' };
    },
    'two armoured blocks in one file': async () => {
      const [pinned, other] = [await makeKey(), await makeKey({ name: 'other' })];
      const blocks = [
        gpgArmor(gpg, Buffer.from(await sign(other, TEXT))),
        gpgArmor(gpg, Buffer.from(await sign(pinned, TEXT))),
      ];
      return { keys: [publicBytes(pinned)], signature: Buffer.concat(blocks), outcome: 'good' };
    },

    'key expired after it signed, judged while it was good': () => {
      const key = gpg.makeKey('year', 'ed25519', 'sign', '2025-01-01', days(0));
      const signature = gpg.sign([key], TEXT, [], days(10));
      return { keys: [gpg.export(key)], signature, at: days(20), outcome: 'good' };
    },
    'key expired after it signed, judged later': () => {
      const key = gpg.makeKey('past', 'ed25519', 'sign', '2025-01-01', days(0));
      const signature = gpg.sign([key], TEXT, [], days(10));
      const differs = {
        gpg: 'key-expired',
        because: 'gpg judges by the present, and accepts it with a warning (exit code 0)',
      } as const;
      return { keys: [gpg.export(key)], signature, at: days(500), outcome: 'good', differs };
    },
    'signature made after the key had expired': async () => {
      const key = await makeKey({ keyExpirationTime: 30 * 24 * 3600 });
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT, { at: days(31) }),
        at: days(32),
        outcome: 'key-expired',
      };
    },
    'expiry prolonged after the signature, older statement gone': () => {
      const key = gpg.makeKey('prolonged', 'ed25519', 'sign', '2024-02-01', days(0));
      const signature = gpg.sign([key], TEXT, [], days(10));
      gpg.run(['--quick-set-expire', key, '2030-01-01'], { at: days(20) });
      return { keys: [gpg.export(key)], signature, at: days(400), outcome: 'good' };
    },
    'signing subkey expired, primary key good': () => {
      const key = gpg.makeKey('sub-expired', 'ed25519', 'cert', 'never', days(0));
      gpg.addSubkey(key, 'ed25519', 'sign', '2024-06-01', days(0));
      const signature = gpg.sign([key], TEXT, [], days(10));
      return { keys: [gpg.export(key)], signature, at: days(11), outcome: 'good' };
    },
    'signature made after the signing subkey had expired': async () => {
      const key = await makeKey({ subkeys: [{ sign: true, keyExpirationTime: 30 * 24 * 3600 }] });
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket), at: days(40) });
      return { keys: [publicBytes(key)], signature, at: days(41), outcome: 'key-expired' };
    },
    'signature made by a subkey after the primary key had expired': async () => {
      const key = await makeKey({ subkeys: [{ sign: true }], keyExpirationTime: 30 * 24 * 3600 });
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket), at: days(40) });
      return { keys: [publicBytes(key)], signature, at: days(41), outcome: 'key-expired' };
    },
    'signature made by a subkey that never expires, of a primary key that had expired': async () => {
      const limited = { keyNeverExpires: false, keyExpirationTime: 30 * 24 * 3600 };
      const key = await makeKey({ subkeys: [{ sign: true }] });
      const keys = [
        Buffer.concat([
          packetOf(key, PACKET.publicKey),
          packetOf(key, PACKET.userId),
          await selfSignature(key, limited),
          bareSubkey(key),
          packetBytes(onlySubkey(key).bindingSignatures[0] ?? assert.fail()),
        ]),
      ];
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket), at: days(40) });
      return { keys, signature, at: days(41), outcome: 'key-expired' };
    },
    'expiry brought forward, the statements in either order': async () => {
      const key = await makeKey();
      const user = [packetOf(key, PACKET.publicKey), packetOf(key, PACKET.userId)];
      const older = await selfSignature(key);
      const newer = await selfSignature(key, { keyNeverExpires: false, keyExpirationTime: 5 * 24 * 3600 }, days(2));
      const signature = await sign(key, TEXT);
      const keys = [Buffer.concat([...user, newer, older])];
      await compare({
        keys: [Buffer.concat([...user, older, newer])],
        signature,
        at: days(11),
        outcome: 'key-expired',
      });
      return { keys, signature, at: days(11), outcome: 'key-expired' };
    },
    'expiry in a direct-key signature': async () => {
      const key = await makeKey();
      const limited = { keyNeverExpires: false, keyExpirationTime: 5 * 24 * 3600 };
      const direct = await statement(
        key.keyPacket,
        openpgp.enums.signature.key,
        { key: key.keyPacket },
        limited,
        days(1),
      );
      const rest = [packetOf(key, PACKET.userId), await selfSignature(key)];
      const keys = [Buffer.concat([packetOf(key, PACKET.publicKey), packetBytes(direct), ...rest])];
      return { keys, signature: await sign(key, TEXT), at: days(11), outcome: 'key-expired' };
    },
    'self-signature that prolongs the key, from the future': async () => {
      const key = await makeKey();
      const limited = { keyNeverExpires: false, keyExpirationTime: 5 * 24 * 3600 };
      const keys = [
        Buffer.concat([
          packetOf(key, PACKET.publicKey),
          packetOf(key, PACKET.userId),
          await selfSignature(key, limited),
          await selfSignature(key, {}, days(300)),
        ]),
      ];
      const differs = { gpg: 'good', because: 'gpg does not look at the date of a self-signature' } as const;
      return { keys, signature: await sign(key, TEXT), at: days(11), outcome: 'key-expired', differs };
    },
    'self-signature that has run out': async () => {
      const key = await makeKey();
      const keys = [
        Buffer.concat([
          packetOf(key, PACKET.publicKey),
          packetOf(key, PACKET.userId),
          await selfSignature(key, { signatureNeverExpires: false, signatureExpirationTime: 24 * 3600 }),
        ]),
      ];
      const differs = {
        gpg: 'good',
        because: 'gpg lets no self-signature run out; RFC 9580 section 5.2.3.18 does',
      } as const;
      return { keys, signature: await sign(key, TEXT), at: days(11), outcome: 'unknown-key', differs };
    },
    'signature that has run out': async () => {
      const key = await makeKey();
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT, { expires: 3600 }),
        at: days(11),
        outcome: 'bad',
      };
    },
    'signature that has not run out': async () => {
      const key = await makeKey();
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT, { expires: 3 * 24 * 3600 }),
        at: days(11),
        outcome: 'good',
      };
    },
    'signature older than its key': async () => {
      const key = await makeKey();
      return { keys: [publicBytes(key)], signature: await sign(key, TEXT, { at: days(-1) }), outcome: 'bad' };
    },
    'signature from the future': async () => {
      const key = await makeKey();
      const differs = { gpg: 'good', because: 'gpg compares the date with the key only' } as const;
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT, { at: days(10) }),
        at: days(5),
        outcome: 'bad',
        differs,
      };
    },
    'signature by a clock a little ahead': async () => {
      const key = await makeKey();
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT, { at: days(5.5) }),
        at: days(5),
        outcome: 'good',
      };
    },

    'key revoked without a reason': () => {
      const key = gpg.makeKey('revoked', 'ed25519');
      const signature = gpg.sign([key], TEXT);
      gpg.revoke(key, 0);
      return { keys: [gpg.export(key)], signature, outcome: 'key-revoked' };
    },
    'key revoked as compromised, signature older': () => {
      const key = gpg.makeKey('stolen', 'ed25519', 'sign', 'never', days(0));
      const signature = gpg.sign([key], TEXT, [], days(1));
      gpg.revoke(key, 1, days(20));
      return { keys: [gpg.export(key)], signature, at: days(30), outcome: 'key-revoked' };
    },
    'key superseded, signature older': () => {
      const key = gpg.makeKey('superseded', 'ed25519', 'sign', 'never', days(0));
      const signature = gpg.sign([key], TEXT, [], days(1));
      gpg.revoke(key, 2, days(20));
      const differs = {
        gpg: 'key-revoked',
        because: 'gpg judges by the present, and accepts it with a warning (exit code 0)',
      } as const;
      return { keys: [gpg.export(key)], signature, at: days(30), outcome: 'good', differs };
    },
    'key retired, signature younger': async () => {
      const key = await makeKey();
      const revoked = await key.revoke({ flag: openpgp.enums.reasonForRevocation.keyRetired }, days(5));
      return {
        keys: [publicBytes(revoked)],
        signature: await sign(key, TEXT, { at: days(6) }),
        outcome: 'key-revoked',
      };
    },
    'primary key revoked, a subkey signs': () => {
      const key = gpg.makeKey('main-revoked', 'ed25519', 'cert');
      gpg.addSubkey(key, 'ed25519');
      const signature = gpg.sign([key], TEXT);
      gpg.revoke(key, 1);
      return { keys: [gpg.export(key)], signature, outcome: 'key-revoked' };
    },
    'signing subkey revoked': () => {
      const key = gpg.makeKey('sub-revoked', 'ed25519', 'cert');
      gpg.addSubkey(key, 'ed25519');
      const signature = gpg.sign([key], TEXT);
      gpg.edit(key, ['key 1', 'revkey', 'y', '0', '', 'y', 'save']);
      return { keys: [gpg.export(key)], signature, outcome: 'key-revoked' };
    },
    'revocation that another key made': async () => {
      const [key, enemy] = [await makeKey(), await makeKey({ name: 'enemy' })];
      const [stranger] = (await enemy.revoke({}, days(3))).revocationSignatures;
      assert.ok(stranger);
      const forged = await openpgp.readKey({ binaryKey: publicBytes(key) });
      forged.revocationSignatures.push(stranger);
      return { keys: [forged.write()], signature: await sign(key, TEXT), outcome: 'good' };
    },

    'SHA-1 digest': () => {
      const key = gpg.makeKey('sha1', 'rsa2048');
      return {
        keys: [gpg.export(key)],
        signature: gpg.sign([key], TEXT, ['--digest-algo', 'SHA1']),
        outcome: 'weak-digest',
      };
    },
    'RIPEMD-160 digest': () => {
      const key = gpg.makeKey('ripemd', 'rsa2048');
      return {
        keys: [gpg.export(key)],
        signature: gpg.sign([key], TEXT, ['--digest-algo', 'RIPEMD160']),
        outcome: 'weak-digest',
      };
    },
    'MD5 digest': async () => {
      const key = await makeKey({ type: 'rsa', rsaBits: 2048 });
      return {
        keys: [publicBytes(key)],
        signature: await sign(key, TEXT, { hash: openpgp.enums.hash.md5 }),
        outcome: 'weak-digest',
      };
    },
    'SHA-224 digest': () => {
      const key = gpg.makeKey('sha224', 'rsa2048');
      return {
        keys: [gpg.export(key)],
        signature: gpg.sign([key], TEXT, ['--digest-algo', 'SHA224']),
        outcome: 'good',
      };
    },

    'unbound subkey of an attacker': async () => {
      const [victim, attacker] = [await makeKey(), await makeKey({ name: 'attacker', subkeys: [{ sign: true }] })];
      const signature = await sign(attacker, TEXT, { with: secret(onlySubkey(attacker).keyPacket) });
      return { keys: [Buffer.concat([publicBytes(victim), bareSubkey(attacker)])], signature, outcome: 'unknown-key' };
    },
    "subkey of an attacker with the attacker's binding": async () => {
      const [victim, attacker] = [await makeKey(), await makeKey({ name: 'attacker', subkeys: [{ sign: true }] })];
      const subkey = onlySubkey(attacker);
      const binding = await bindSubkey(attacker, subkey.keyPacket);
      const signature = await sign(attacker, TEXT, { with: secret(subkey.keyPacket) });
      return {
        keys: [Buffer.concat([publicBytes(victim), bareSubkey(attacker), binding])],
        signature,
        outcome: 'unknown-key',
      };
    },
    'bound subkey without a back signature': async () => {
      const [owner, other] = [await makeKey(), await makeKey({ name: 'other', subkeys: [{ sign: true }] })];
      const subkey = onlySubkey(other);
      const binding = await bindSubkey(owner, subkey.keyPacket);
      const signature = await sign(other, TEXT, { with: secret(subkey.keyPacket) });
      return {
        keys: [Buffer.concat([publicBytes(owner), bareSubkey(other), binding])],
        signature,
        outcome: 'unknown-key',
      };
    },
    'bound subkey whose back signature is for another primary key': async () => {
      const [owner, other] = [await makeKey(), await makeKey({ name: 'other', subkeys: [{ sign: true }] })];
      const subkey = onlySubkey(other);
      const backSignature = subkey.bindingSignatures[0]?.embeddedSignature ?? undefined;
      assert.ok(backSignature);
      const binding = await bindSubkey(owner, subkey.keyPacket, { embeddedSignature: backSignature });
      const signature = await sign(other, TEXT, { with: secret(subkey.keyPacket) });
      return {
        keys: [Buffer.concat([publicBytes(owner), bareSubkey(other), binding])],
        signature,
        outcome: 'unknown-key',
      };
    },
    'bound subkey whose back signature is of another type': async () => {
      const [owner, other] = [await makeKey(), await makeKey({ name: 'other', subkeys: [{ sign: true }] })];
      const subkey = onlySubkey(other).keyPacket;
      const { subkeyBinding } = openpgp.enums.signature;
      const embeddedSignature = await statement(subkey, subkeyBinding, { key: owner.keyPacket, bind: subkey });
      const binding = await bindSubkey(owner, subkey, { embeddedSignature });
      const signature = await sign(other, TEXT, { with: secret(subkey) });
      const keys = [Buffer.concat([publicBytes(owner), bareSubkey(other), binding])];
      return { keys, signature, outcome: 'unknown-key' };
    },
    'bound subkey with a back signature, made packet by packet': async () => {
      const [owner, other] = [await makeKey(), await makeKey({ name: 'other', subkeys: [{ sign: true }] })];
      const subkey = onlySubkey(other).keyPacket;
      const { keyBinding } = openpgp.enums.signature;
      const embeddedSignature = await statement(subkey, keyBinding, { key: owner.keyPacket, bind: subkey });
      const binding = await bindSubkey(owner, subkey, { embeddedSignature });
      const signature = await sign(other, TEXT, { with: secret(subkey) });
      const keys = [Buffer.concat([publicBytes(owner), bareSubkey(other), binding])];
      return { keys, signature, outcome: 'good' };
    },
    'subkey that was bound again for other uses': async () => {
      const key = await makeKey({ subkeys: [{ sign: true }] });
      const subkey = onlySubkey(key).keyPacket;
      const keyFlags = Uint8Array.of(openpgp.enums.keyFlags.authentication);
      const { subkeyBinding } = openpgp.enums.signature;
      const later = await statement(
        key.keyPacket,
        subkeyBinding,
        { key: key.keyPacket, bind: subkey },
        { keyFlags },
        days(5),
      );
      const signature = await sign(key, TEXT, { with: secret(subkey) });
      return { keys: [Buffer.concat([publicBytes(key), packetBytes(later)])], signature, outcome: 'unknown-key' };
    },
    'unbound copy of a subkey before the bound one': async () => {
      const key = await makeKey({ subkeys: [{ sign: true }] });
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket) });
      const [primary, ...rest] = splitPackets(publicBytes(key), 'key.invalid', 100).map(({ raw }) => raw);
      assert.ok(primary);
      return {
        keys: [Buffer.concat([primary, ...rest.slice(0, 2), bareSubkey(key), ...rest.slice(2)])],
        signature,
        outcome: 'good',
      };
    },
    "a pinned key claims the signer's key as its subkey": async () => {
      const [signer, claimer] = [await makeKey(), await makeKey({ name: 'claimer' })];
      const claim = Buffer.concat([publicBytes(claimer), await asSubkeyOf(signer, claimer)]);
      const differs = {
        gpg: 'unknown-key',
        because: 'gpg looks at the first key that carries the subkey only',
      } as const;
      return { keys: [claim, publicBytes(signer)], signature: await sign(signer, TEXT), outcome: 'good', differs };
    },
    'encryption subkey signs': async () => {
      const key = await makeKey({ type: 'rsa', rsaBits: 2048, subkeys: [{}] });
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket) });
      return { keys: [publicBytes(key)], signature, outcome: 'unknown-key' };
    },
    'certification key signs': async () => {
      const key = gpg.makeKey('cert-only', 'ed25519', 'cert');
      gpg.addSubkey(key, 'ed25519');
      const secretKey = await openpgp.readPrivateKey({ binaryKey: gpg.run(['--export-secret-keys', key]) });
      return {
        keys: [gpg.export(key)],
        signature: await sign(secretKey, TEXT, { at: new Date() }),
        outcome: 'unknown-key',
      };
    },
    'strong subkey of an RSA key of 1024 bits': () => {
      const key = gpg.makeKey('short-main', 'rsa1024', 'cert');
      gpg.addSubkey(key, 'ed25519');
      const differs = { gpg: 'good', because: 'gpg sets no least length' } as const;
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'unknown-key', differs };
    },
    'subkey of a key without any valid self-signature': async () => {
      const key = await makeKey({ subkeys: [{ sign: true }] });
      const signature = await sign(key, TEXT, { with: secret(onlySubkey(key).keyPacket) });
      const binding = packetBytes(onlySubkey(key).bindingSignatures[0] ?? assert.fail());
      const user = packetOf(await makeKey({ name: 'somebody-else' }), PACKET.userId);
      const keys = [Buffer.concat([packetOf(key, PACKET.publicKey), user, bareSubkey(key), binding])];
      return { keys, signature, outcome: 'unknown-key' };
    },
    'self-signature over MD5': async () => {
      const key = await makeKey({ type: 'rsa', rsaBits: 2048 });
      const md5 = await selfSignature(key, { hashAlgorithm: openpgp.enums.hash.md5 });
      const keys = [Buffer.concat([packetOf(key, PACKET.publicKey), packetOf(key, PACKET.userId), md5])];
      return { keys, signature: await sign(key, TEXT), outcome: 'unknown-key' };
    },
    'RSA key of 1024 bits': () => {
      const key = gpg.makeKey('short', 'rsa1024');
      const differs = { gpg: 'good', because: 'gpg sets no least length' } as const;
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'unknown-key', differs };
    },
    'DSA key': () => {
      const key = gpg.makeKey('dsa', 'dsa2048');
      return { keys: [gpg.export(key)], signature: gpg.sign([key], TEXT), outcome: 'good' };
    },
    'DSA key of 1024 bits': () => {
      const key = gpg.makeKey('dsa-short', 'dsa1024');
      const signature = gpg.sign([key], TEXT, ['--digest-algo', 'SHA256']);
      const differs = { gpg: 'good', because: 'gpg sets no least length' } as const;
      return { keys: [gpg.export(key)], signature, outcome: 'unknown-key', differs };
    },

    'clear-signed file given as .asc': () => {
      const key = gpg.makeKey('clear', 'ed25519');
      const signature = gpg.run(['--local-user', key, '--clear-sign'], { input: TEXT });
      return { keys: [gpg.export(key)], signature, outcome: 'unparsable' };
    },
    'signed message given as .asc': () => {
      const key = gpg.makeKey('inline', 'ed25519');
      const signature = gpg.run(['--local-user', key, '--sign'], { input: TEXT });
      return { keys: [gpg.export(key)], signature, outcome: 'unparsable' };
    },
    'web page given as .asc': async () => {
      const signature = Buffer.from('<!DOCTYPE html><html><body>Please log in</body></html>');
      return { keys: [publicBytes(await makeKey())], signature, outcome: 'unparsable' };
    },
    'empty .asc': async () => ({
      keys: [publicBytes(await makeKey())],
      signature: new Uint8Array(0),
      outcome: 'unparsable',
    }),
    'armour cut off': async () => {
      const key = await makeKey();
      const signature = gpgArmor(gpg, Buffer.from(await sign(key, TEXT))).subarray(0, 120);
      return { keys: [publicBytes(key)], signature, outcome: 'unparsable' };
    },
    'signature of a certification type': async () => {
      const key = await makeKey();
      const signature = await sign(key, TEXT, { type: openpgp.enums.signature.standalone });
      return { keys: [publicBytes(key)], signature, outcome: 'unparsable' };
    },
  };

  for (const [name, row] of Object.entries(rows)) test(name, async () => await compare(await row()));
});

async function compare(row: Row): Promise<void> {
  const signed = row.signed ?? TEXT;
  const now = row.at ?? new Date();
  const keys: VendorKey[] = [];
  for (const key of row.keys) keys.push(...(await readVendorKeys(key, now)));

  const ours = await verifyDetached({ signed, signature: row.signature, keys, now });
  assert.equal(ours.outcome, row.outcome, ours.message);
  if (ours.outcome !== 'unparsable') {
    assert.match(ours.keyId ?? '', /^[0-9A-F]{16}$/);
    assert.match(ours.fingerprint ?? '', /^[0-9A-F]{40}$/);
    assert.ok(ours.message.includes(ours.subkeyFingerprint ?? ours.fingerprint ?? '?'), ours.message);
    assert.ok((ours.subkeyFingerprint ?? ours.fingerprint ?? '').endsWith(ours.keyId ?? '?'));
  }

  const theirs = gpgVerify(row.keys, signed, row.signature, row.at);
  assert.equal(overall(theirs), row.differs?.gpg ?? row.outcome, theirs.log);
  if (ours.keyId !== null)
    assert.ok(
      theirs.signatures.some(({ keyId }) => keyId === ours.keyId),
      theirs.log,
    );
}

/** gpg judges every signature; the rule for several is ours. */
function overall({ signatures, log }: GpgVerdict): SignatureOutcome {
  const outcomes = signatures.map(({ status }) => WORDS[status] ?? assert.fail(`unexpected ${status}: ${log}`));
  if (outcomes.includes('bad')) return 'bad';
  return outcomes.includes('good') ? 'good' : (outcomes[0] ?? 'unparsable');
}
