/**
 * Ed25519 keys that sign metadata and receipts.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { Key, Signature } from '@tufjs/models';
import { AirlockError } from '../../errors.ts';

export interface SigningKey {
  /** What metadata calls the key: the SHA-256 of its public part, as TUF defines it. */
  readonly id: string;
  /** The public part, as it stands in metadata. */
  readonly publicKey: Key;
  /** A signature over `bytes`, as metadata holds it. */
  sign(bytes: Uint8Array): Signature;
  /** The private part: PKCS #8, PEM. Whoever has it can sign in our name. */
  exportPem(): string;
}

/** A new key. */
export function makeSigningKey(): SigningKey {
  return signingKey(generateKeyPairSync('ed25519').privateKey);
}

/** @throws key.invalid if the text is no private Ed25519 key; the message does not quote it */
export function readSigningKey(pem: string): SigningKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw notAKey('it cannot be read as a private key');
  }
  if (key.asymmetricKeyType !== 'ed25519') throw notAKey(`it is of type ${key.asymmetricKeyType}, not Ed25519`);
  return signingKey(key);
}

function signingKey(privateKey: KeyObject): SigningKey {
  const publicKey = publicTufKey(createPublicKey(privateKey));
  const id = publicKey.keyID;
  return {
    id,
    publicKey,
    sign: (bytes) => new Signature({ keyID: id, sig: sign(null, bytes, privateKey).toString('hex') }),
    exportPem: () => String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  };
}

function publicTufKey(key: KeyObject): Key {
  const { x = '' } = key.export({ format: 'jwk' });
  const keyVal = { public: Buffer.from(x, 'base64url').toString('hex') };
  // The canonical JSON of the key: its members stand in order.
  const canonical = `{"keytype":"ed25519","keyval":{"public":"${keyVal.public}"},"scheme":"ed25519"}`;
  const keyID = createHash('sha256').update(canonical).digest('hex');
  return new Key({ keyID, keyType: 'ed25519', scheme: 'ed25519', keyVal });
}

function notAKey(why: string): AirlockError {
  return new AirlockError('key.invalid', `This is no signing key: ${why}. Keys are made by "airlock keys init".`);
}
