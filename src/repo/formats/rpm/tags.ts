/** Numbers of the RPM format (rpm's include/rpm/rpmtag.h, rpmds.h, rpmfiles.h, rpmpgp.h). */

/** Types of the data behind a tag. */
export const TYPE = {
  char: 1,
  int8: 2,
  int16: 3,
  int32: 4,
  int64: 5,
  string: 6,
  bin: 7,
  stringArray: 8,
  i18nString: 9,
} as const;

/** First entry of a header: all that follows belongs to it and is what digests and signatures cover. */
export const REGION = { signature: 62, main: 63 } as const;

/** Tags of the main header. */
export const TAG = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  summary: 1004,
  description: 1005,
  buildTime: 1006,
  buildHost: 1007,
  size: 1009,
  vendor: 1011,
  license: 1014,
  packager: 1015,
  group: 1016,
  url: 1020,
  arch: 1022,
  oldFileNames: 1027,
  fileModes: 1030,
  fileFlags: 1037,
  sourceRpm: 1044,
  archiveSize: 1046,
  provideName: 1047,
  requireFlags: 1048,
  requireName: 1049,
  requireVersion: 1050,
  noSource: 1051,
  noPatch: 1052,
  conflictFlags: 1053,
  conflictName: 1054,
  conflictVersion: 1055,
  changelogTime: 1080,
  changelogName: 1081,
  changelogText: 1082,
  obsoleteName: 1090,
  sourcePackage: 1106,
  provideFlags: 1112,
  provideVersion: 1113,
  obsoleteFlags: 1114,
  obsoleteVersion: 1115,
  dirIndexes: 1116,
  baseNames: 1117,
  dirNames: 1118,
  payloadFormat: 1124,
  payloadCompressor: 1125,
  payloadFlags: 1126,
  longArchiveSize: 271,
  longSize: 5009,
  recommendName: 5046,
  recommendVersion: 5047,
  recommendFlags: 5048,
  suggestName: 5049,
  suggestVersion: 5050,
  suggestFlags: 5051,
  supplementName: 5052,
  supplementVersion: 5053,
  supplementFlags: 5054,
  enhanceName: 5055,
  enhanceVersion: 5056,
  enhanceFlags: 5057,
  payloadDigest: 5092,
  payloadDigestAlgorithm: 5093,
  payloadDigestAlt: 5097,
  payloadSize: 5112,
  payloadSizeAlt: 5113,
  rpmFormat: 5114,
  payloadSha512: 5121,
  payloadSha512Alt: 5122,
  payloadSha3: 5123,
  payloadSha3Alt: 5124,
} as const;

/** Tags of the signature header. Some numbers mean something else in the main header. */
export const SIGTAG = {
  dsa: 267,
  rsa: 268,
  sha1: 269,
  longSize: 270,
  longArchiveSize: 271,
  sha256: 273,
  openpgp: 278,
  sha3: 279,
  size: 1000,
  pgp: 1002,
  pgp5: 1003,
  md5: 1004,
  gpg: 1005,
  payloadSize: 1007,
} as const;

/** Bits of a dependency's flags. */
export const SENSE = {
  less: 1 << 1,
  greater: 1 << 2,
  equal: 1 << 3,
  /** Without any of these (the lowest bit is a relic) a dependency means every version. */
  mask: 0b1111,
  prereq: 1 << 6,
  scriptPre: 1 << 9,
  scriptPost: 1 << 10,
} as const;

/** Bits of a file's flags and mode. */
export const FILE = { ghost: 1 << 6, typeMask: 0o170000, directory: 0o040000 } as const;
