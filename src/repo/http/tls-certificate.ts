/**
 * X.509 certificates, made (RFC 5280): of an authority, of a server, of a client. All keys are on P-256, which everything that
 * speaks TLS 1.2 knows.
 */
import { createHash, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';

export interface CertificateOrder {
  /** Its common name; for people. */
  readonly subject: string;
  readonly publicKey: KeyObject;
  /** `authority`: may sign others, but no further authorities. */
  readonly use: 'authority' | 'server' | 'client';
  /** Of a server: host names and addresses under which it is reached. */
  readonly names: readonly string[];
  readonly from: Date;
  readonly until: Date;
}

/** Who signs. Without a certificate, the new one vouches for itself. */
export interface Issuer {
  readonly key: KeyObject;
  readonly certificate?: X509Certificate;
}

const ECDSA_WITH_SHA256 = '1.2.840.10045.4.3.2';
const ORGANIZATION = '2.5.4.10';
const COMMON_NAME = '2.5.4.3';
/** Clocks that are a little behind shall take it, too. */
const SKEW = 60 * 60_000;

/** @returns the certificate in PEM */
export function makeCertificate(order: CertificateOrder, issuer: Issuer): string {
  const subject = nameOf(order.subject);
  const key = keyInfo(order.publicKey);
  const signer =
    issuer.certificate === undefined ? undefined : AsnConvert.parse(issuer.certificate.raw, Certificate).tbsCertificate;
  const algorithm = new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 });
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    serialNumber: serialNumber(),
    signature: algorithm,
    issuer: signer?.subject ?? subject,
    validity: new Validity({ notBefore: new Date(order.from.getTime() - SKEW), notAfter: order.until }),
    subject,
    subjectPublicKeyInfo: key,
    extensions: new Extensions(extensionsOf(order, key, signer?.subjectPublicKeyInfo ?? key)),
  });
  const signatureValue = bufferOf(sign('sha256', Buffer.from(AsnConvert.serialize(tbsCertificate)), issuer.key));
  const certificate = new Certificate({ tbsCertificate, signatureAlgorithm: algorithm, signatureValue });
  return new X509Certificate(Buffer.from(AsnConvert.serialize(certificate))).toString();
}

function extensionsOf({ use, names }: CertificateOrder, key: SubjectPublicKeyInfo, signer: SubjectPublicKeyInfo) {
  const isAuthority = use === 'authority';
  const may = isAuthority ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign : KeyUsageFlags.digitalSignature;
  const constraints = isAuthority ? { cA: true, pathLenConstraint: 0 } : {};
  const all = [
    extension(id_ce_basicConstraints, new BasicConstraints(constraints), true),
    extension(id_ce_keyUsage, new KeyUsage(may), true),
    extension(id_ce_subjectKeyIdentifier, new SubjectKeyIdentifier(identifierOf(key))),
    extension(
      id_ce_authorityKeyIdentifier,
      new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(identifierOf(signer)) }),
    ),
  ];
  // A conductor is a client of its HA twin.
  const purposes = use === 'server' ? [id_kp_serverAuth, id_kp_clientAuth] : [id_kp_clientAuth];
  if (!isAuthority) all.push(extension(id_ce_extKeyUsage, new ExtendedKeyUsage(purposes)));
  if (names.length > 0) all.push(extension(id_ce_subjectAltName, new SubjectAlternativeName(names.map(generalName))));
  return all;
}

function extension(extnID: string, value: unknown, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

function generalName(name: string): GeneralName {
  return new GeneralName(isIP(name) === 0 ? { dNSName: name } : { iPAddress: name });
}

function nameOf(commonName: string): Name {
  const part = (type: string, utf8String: string) =>
    new RelativeDistinguishedName([new AttributeTypeAndValue({ type, value: new AttributeValue({ utf8String }) })]);
  return new Name([part(ORGANIZATION, 'Airlock'), part(COMMON_NAME, commonName)]);
}

function keyInfo(key: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(key.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo);
}

/** RFC 5280, 4.2.1.2, method 1. It names a key, and proves nothing. */
function identifierOf({ subjectPublicKey }: SubjectPublicKeyInfo): ArrayBuffer {
  return bufferOf(createHash('sha1').update(Buffer.from(subjectPublicKey)).digest());
}

/** Positive, and not to be guessed (RFC 5280, 4.1.2.2). */
function serialNumber(): ArrayBuffer {
  const bytes = randomBytes(16);
  bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0x3f);
  return bufferOf(bytes);
}

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
