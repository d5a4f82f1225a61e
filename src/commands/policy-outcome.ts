/** What commands say of policy versions and of what became of texts. */
import { EXIT } from '../errors.ts';
import type { BroughtPolicy } from '../repo/policies/bring.ts';
import { versionPath } from '../repo/policies/policy-name.ts';
import { whyHeld, whyRejected } from '../repo/policies/tell.ts';
import type { PolicyVersion } from '../repo/policies/versions.ts';

/** For programs: these keys are always there. */
export function describe(version: PolicyVersion) {
  const { name, version: number, digest, size, at, format, widening, releases, held, rejected, approvedAt } = version;
  const { origin, source, fileName, validators, verification } = version;
  const from = { origin, source, fileName, validators, verification };
  const state = { held, rejected, approvedAt };
  return { name, version: number, digest, size, at, format, widening, releases, ...state, ...from };
}

export function outcomeDocument({ outcome, version, before, waitsFor, along }: BroughtPolicy): object {
  return { outcome, ...describe(version), before, waitsFor, along };
}

const VERIFIED = { signature: 'verified by signature', checksum: 'verified by checksum', unverified: 'unverified' };

export function outcomeLine(brought: BroughtPolicy): string {
  const { outcome, version, before, along } = brought;
  const path = versionPath(version.name, version.version);
  const others = along.length === 0 ? '' : ` ${along.join(', ')}, which waited for it, went along.`;
  if (outcome === 'held') return `✋ ${path} is held and not published: ${whyHeld(brought)}`;
  if (outcome === 'rejected') return `✋ ${path} ${whyRejected(version)}, and is not published.`;
  if (outcome === 'present') return `✔ ${path} is published already: nothing to do.${others}`;
  if (outcome === 'completed') {
    return `✔ ${path} is published already, and now goes with ${version.releases.join(', ')}.${others}`;
  }
  return `✔ ${path} published, ${VERIFIED[version.verification.status]}.${wideningText(version, before)}${others}`;
}

function wideningText({ name, version, widening }: PolicyVersion, before: string | null): string {
  if (before === null || widening === null || before === versionPath(name, version)) return '';
  const look = `"airlock policy diff ${before} ${versionPath(name, version)}" tells what changed.`;
  if (widening === 'yes') return ` It makes more possible than ${before}: ${look}`;
  if (widening === 'no') return ` It makes nothing possible that ${before} did not.`;
  return ` Whether it makes more possible than ${before}, only a person can tell: ${look}`;
}

/** An approval that did not publish has not done all that was asked for. */
export function exitCodeOf({ outcome }: BroughtPolicy): number {
  return outcome === 'held' ? EXIT.incomplete : EXIT.done;
}
