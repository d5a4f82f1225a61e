import assert from 'node:assert/strict';
import { type ErrorCode, isAirlockError } from '../../../src/errors.ts';
import { changelogsOf } from '../../../src/repo/formats/rpm/changelogs.ts';
import { DEPENDENCY_KINDS, dependenciesOf } from '../../../src/repo/formats/rpm/dependencies.ts';
import { checkDigests, type DigestReport } from '../../../src/repo/formats/rpm/digests.ts';
import { type RpmFacts, rpmFacts } from '../../../src/repo/formats/rpm/facts.ts';
import { filesOf } from '../../../src/repo/formats/rpm/files.ts';
import { openRpm, type RpmFile } from '../../../src/repo/formats/rpm/rpm-file.ts';
import { signaturesOf } from '../../../src/repo/formats/rpm/signatures.ts';
import { type CountingSource, countingSource } from '../../media/byte-sources.ts';
import { type BuiltRpm, buildRpm, type RpmOptions } from '../../media/rpm-builder.ts';

export interface Opened extends BuiltRpm {
  readonly source: CountingSource;
  readonly rpm: RpmFile;
  readonly facts: RpmFacts;
}

/** Builds a package, lets `patch` write into it, and opens it. */
export async function openBuilt(
  options: RpmOptions = {},
  patch: (built: BuiltRpm) => void = () => {},
): Promise<Opened> {
  const built = buildRpm(options);
  patch(built);
  const source = countingSource(built.file, { maxReads: 1000 });
  const rpm = await openRpm(source);
  return { ...built, source, rpm, facts: rpmFacts(rpm) };
}

/** Opens a package and checks its digests. */
export async function checkBuilt(
  options: RpmOptions = {},
  patch: (built: BuiltRpm) => void = () => {},
): Promise<DigestReport> {
  const { source, rpm } = await openBuilt(options, patch);
  return checkDigests(source, rpm);
}

/** Everything that a caller may do with a package. */
export async function readAll(file: Uint8Array): Promise<DigestReport> {
  const source = countingSource(file, { maxReads: 100 });
  const rpm = await openRpm(source);
  rpmFacts(rpm);
  for (const kind of DEPENDENCY_KINDS)
    for (const { name } of dependenciesOf(rpm, kind)) assert.equal(typeof name, 'string');
  for (const { path } of filesOf(rpm)) assert.equal(typeof path, 'string');
  for (const { time } of changelogsOf(rpm)) assert.ok(time >= 0);
  signaturesOf(rpm);
  return checkDigests(source, rpm);
}

const CODES = ['rpm.invalid', 'rpm.truncated', 'rpm.limit', 'rpm.unsupported', 'rpm.digest-mismatch'] as const;

/** True for the errors that a bad package may cause. */
export function isRpmError(error: unknown): boolean {
  return isAirlockError(error, ...CODES);
}

/** Asserts that `work` fails with this code, and a message that says this. */
export async function refuses(work: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(isAirlockError(error, code), `expected ${code}, got ${String(error)}`);
    assert.match(error.message, message);
    return true;
  });
}

/** As `refuses`, for what fails at once. */
export function refusesAtOnce(work: () => unknown, code: ErrorCode, message: RegExp): void {
  assert.throws(work, (error: unknown) => {
    assert.ok(isAirlockError(error, code), `expected ${code}, got ${String(error)}`);
    assert.match(error.message, message);
    return true;
  });
}
