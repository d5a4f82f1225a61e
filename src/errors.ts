/**
 * The one error class and the one table of error codes.
 *
 * A code is the stable name of a failure: it stands in messages, `--json` output, API bodies and tests.
 * The table says what the world outside sees of it: exit code of the command and HTTP status.
 */

interface CodeFacts {
  /** Exit code of a command that ends with this error (see EXIT). */
  readonly exit: number;
  /** HTTP status of a response that ends with this error. */
  readonly http: number;
}

/** Exit codes of every command. */
export const EXIT = {
  done: 0,
  other: 1,
  usage: 2,
  notFound: 3,
  unverified: 4,
  incomplete: 5,
  noSpace: 6,
  refused: 7,
  unreachable: 8,
} as const;

/** Every code. What each one means to people stands in docs/errors.md. */
export const CODES = {
  // what the user typed or configured
  'usage.invalid': { exit: EXIT.usage, http: 400 },
  'usage.ambiguous': { exit: EXIT.usage, http: 400 },
  'config.invalid': { exit: EXIT.usage, http: 500 },

  // what was asked for is not there
  'file.not-found': { exit: EXIT.notFound, http: 404 },
  'repository.not-found': { exit: EXIT.notFound, http: 404 },
  'revision.not-found': { exit: EXIT.notFound, http: 404 },
  'revision.incomplete': { exit: EXIT.notFound, http: 404 },
  'release.not-found': { exit: EXIT.notFound, http: 404 },
  'path.not-found': { exit: EXIT.notFound, http: 404 },
  'digest.not-found': { exit: EXIT.notFound, http: 404 },
  'key.not-found': { exit: EXIT.notFound, http: 404 },
  'site.not-found': { exit: EXIT.notFound, http: 404 },
  'policy.not-found': { exit: EXIT.notFound, http: 404 },
  'bundle.not-found': { exit: EXIT.notFound, http: 404 },

  // what was read is not what it should be
  'release.unparsable': { exit: EXIT.unverified, http: 400 },
  'blob.size-mismatch': { exit: EXIT.unverified, http: 500 },
  'blob.digest-mismatch': { exit: EXIT.unverified, http: 500 },
  'blob.incomplete': { exit: EXIT.incomplete, http: 500 },
  'blob.damaged': { exit: EXIT.unverified, http: 500 },
  'blob.missing': { exit: EXIT.unverified, http: 500 },
  'blob.busy': { exit: EXIT.refused, http: 409 },
  'verify.damaged': { exit: EXIT.unverified, http: 500 },
  'checksum.invalid': { exit: EXIT.unverified, http: 400 },
  'checksum.mismatch': { exit: EXIT.unverified, http: 400 },
  'checksum.missing': { exit: EXIT.unverified, http: 400 },
  'signature.invalid': { exit: EXIT.unverified, http: 400 },
  'signature.bad': { exit: EXIT.unverified, http: 400 },
  'signature.unknown-key': { exit: EXIT.unverified, http: 400 },
  'signature.missing': { exit: EXIT.unverified, http: 400 },
  'signature.key-revoked': { exit: EXIT.unverified, http: 400 },
  'signature.key-expired': { exit: EXIT.unverified, http: 400 },
  'signature.weak-digest': { exit: EXIT.unverified, http: 400 },
  'key.invalid': { exit: EXIT.unverified, http: 400 },
  'key.fingerprint-mismatch': { exit: EXIT.unverified, http: 400 },
  'iso.invalid': { exit: EXIT.unverified, http: 400 },
  'iso.truncated': { exit: EXIT.unverified, http: 400 },
  'iso.limit': { exit: EXIT.unverified, http: 400 },
  'rpm.invalid': { exit: EXIT.unverified, http: 400 },
  'rpm.truncated': { exit: EXIT.unverified, http: 400 },
  'rpm.limit': { exit: EXIT.unverified, http: 400 },
  'rpm.unsupported': { exit: EXIT.unverified, http: 400 },
  'rpm.digest-mismatch': { exit: EXIT.unverified, http: 400 },
  'repodata.invalid': { exit: EXIT.unverified, http: 400 },
  'policy.empty': { exit: EXIT.unverified, http: 400 },
  'policy.limit': { exit: EXIT.unverified, http: 400 },
  'platform.invalid': { exit: EXIT.unverified, http: 400 },
  'tar.invalid': { exit: EXIT.unverified, http: 400 },
  'catalog.corrupt': { exit: EXIT.unverified, http: 500 },
  'catalog.busy': { exit: EXIT.other, http: 503 },
  'catalog.inaccessible': { exit: EXIT.other, http: 500 },
  'catalog.newer-format': { exit: EXIT.unverified, http: 500 },
  'revision.damaged': { exit: EXIT.unverified, http: 500 },
  'trust.none': { exit: EXIT.unverified, http: 500 },
  'trust.invalid': { exit: EXIT.unverified, http: 500 },
  'trust.missing': { exit: EXIT.unverified, http: 500 },
  'trust.unsigned': { exit: EXIT.unverified, http: 500 },
  'trust.rollback': { exit: EXIT.unverified, http: 500 },
  'trust.expired': { exit: EXIT.unverified, http: 500 },
  'trust.wrong-site': { exit: EXIT.unverified, http: 500 },
  'trust.revoked': { exit: EXIT.unverified, http: 500 },
  'trust.locked': { exit: EXIT.unverified, http: 500 },
  'key.missing': { exit: EXIT.unverified, http: 500 },
  'bundle.invalid': { exit: EXIT.unverified, http: 500 },
  'delta.invalid': { exit: EXIT.unverified, http: 500 },
  'bundle.newer-format': { exit: EXIT.unverified, http: 500 },
  'receipt.invalid': { exit: EXIT.unverified, http: 500 },
  'ssh.host-key': { exit: EXIT.unverified, http: 502 },

  // it stopped half way, and can go on
  'source.lost': { exit: EXIT.incomplete, http: 502 },
  'bundle.incomplete': { exit: EXIT.incomplete, http: 500 },
  'bundle.base-missing': { exit: EXIT.incomplete, http: 500 },
  'medium.full': { exit: EXIT.incomplete, http: 507 },
  interrupted: { exit: EXIT.incomplete, http: 503 },

  // it does not fit, or is not allowed
  'space.insufficient': { exit: EXIT.noSpace, http: 507 },
  'scan.refused': { exit: EXIT.refused, http: 409 },
  'policy.rejected': { exit: EXIT.refused, http: 409 },
  'policy.published': { exit: EXIT.refused, http: 409 },
  'path.conflict': { exit: EXIT.refused, http: 409 },
  'path.invalid': { exit: EXIT.usage, http: 400 },
  'revision.moved': { exit: EXIT.refused, http: 409 },
  'key.exists': { exit: EXIT.refused, http: 409 },
  'repository.exists': { exit: EXIT.refused, http: 409 },
  'repository.kind': { exit: EXIT.refused, http: 409 },
  'repository.mirrored': { exit: EXIT.refused, http: 409 },
  'rpm.foreign-arch': { exit: EXIT.refused, http: 409 },
  'rpm.unresolved': { exit: EXIT.refused, http: 409 },
  'release.incompatible': { exit: EXIT.refused, http: 409 },
  'data.locked': { exit: EXIT.refused, http: 409 },
  'server.locked': { exit: EXIT.refused, http: 409 },
  'server.address-in-use': { exit: EXIT.refused, http: 500 },

  // HTTP requests
  'http.bad-request': { exit: EXIT.usage, http: 400 },
  'http.method-not-allowed': { exit: EXIT.usage, http: 405 },
  'http.precondition-failed': { exit: EXIT.refused, http: 412 },
  'http.range-not-satisfiable': { exit: EXIT.usage, http: 416 },
  'http.draining': { exit: EXIT.unreachable, http: 503 },

  // what is fetched from elsewhere
  'upstream.unreachable': { exit: EXIT.unreachable, http: 504 },
  'upstream.failed': { exit: EXIT.unreachable, http: 502 },
  'upstream.unauthorized': { exit: EXIT.unreachable, http: 502 },
  'upstream.address-refused': { exit: EXIT.refused, http: 502 },
  'upstream.unusable': { exit: EXIT.unverified, http: 502 },
  'upstream.signature': { exit: EXIT.unverified, http: 502 },
  'upstream.changed': { exit: EXIT.incomplete, http: 503 },
  'upstream.not-found': { exit: EXIT.notFound, http: 404 },
  'upstream.busy': { exit: EXIT.refused, http: 409 },
  'upstream.offline': { exit: EXIT.refused, http: 409 },
  'peer.invalid': { exit: EXIT.unverified, http: 502 },
  'proxy.refused': { exit: EXIT.refused, http: 403 },
  'proxy.not-cached': { exit: EXIT.notFound, http: 504 },
  'carrier.unreachable': { exit: EXIT.unreachable, http: 504 },
  'ssh.authentication': { exit: EXIT.refused, http: 502 },

  'storage.failed': { exit: EXIT.other, http: 500 },
  'output.failed': { exit: EXIT.other, http: 500 },
  internal: { exit: EXIT.other, http: 500 },
} satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof CODES;

export interface AirlockErrorOptions {
  readonly cause?: unknown;
  /** Facts for programs: printed under `details` in JSON. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Every failure that Airlock names. The message tells a person what is wrong and what to do next. */
export class AirlockError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: AirlockErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AirlockError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get exitCode(): number {
    return CODES[this.code].exit;
  }

  get httpStatus(): number {
    return CODES[this.code].http;
  }

  toJSON(): { code: ErrorCode; message: string; details: Readonly<Record<string, unknown>> } {
    return { code: this.code, message: this.message, details: this.details };
  }
}

/** True when `error` is an AirlockError, with one of `codes` if any are given. */
export function isAirlockError(error: unknown, ...codes: ErrorCode[]): error is AirlockError {
  return error instanceof AirlockError && (codes.length === 0 || codes.includes(error.code));
}

/** The `code` of a Node.js system error (`ENOENT`, `EIO`, …), or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** What the system says when a disk fails, went away, or was made read-only because of that. */
const DISK_FAILED = new Set(['EIO', 'ENXIO', 'ENODEV', 'ESTALE', 'ESHUTDOWN', 'EROFS']);

/**
 * A failing disk, in words.
 * @param path the file or folder concerned, if the system's error does not tell
 * @returns storage.failed, or undefined if `error` is no system error of that kind
 */
export function storageFailure(error: unknown, path?: string): AirlockError | undefined {
  const code = systemCode(error);
  if (code === undefined || !DISK_FAILED.has(code)) return undefined;
  const { message, path: named } = error as NodeJS.ErrnoException;
  const where = path ?? named;
  return new AirlockError(
    'storage.failed',
    `The disk fails${where === undefined ? '' : ` at ${where}`} (${message}). Nothing that was acknowledged is given up: see that the disk is mounted and writable, check it ("dmesg", its cable, its SMART values), and run the same command again. "airlock verify" tells what is damaged.`,
    { cause: error, details: { ...(where === undefined ? {} : { path: where }), reason: code } },
  );
}

/**
 * Notes on a system error which file it was about, where the system does not: calls on descriptors know no name.
 * @returns the error
 */
export function about<E>(error: E, path: string): E {
  if (systemCode(error) !== undefined) (error as NodeJS.ErrnoException).path ??= path;
  return error;
}
