/** `import rpm` and `import platform`: packages, and what they may count on. */
import type { Command } from 'commander';
import { AirlockError } from '../errors.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { SIGNATURE_POLICIES } from '../repo/formats/rpm/signature-policy.ts';
import { importPlatform } from '../repo/ingest/import-platform.ts';
import { type ImportRpmReport, type ImportRpmTarget, importRpms } from '../repo/ingest/import-rpm.ts';
import { appAction, type Result } from './command.ts';
import { packagePolicy } from './package-policy.ts';
import { readWords } from './words.ts';

interface RpmFlags {
  readonly distribution?: string;
  readonly architecture?: string;
  readonly filepath?: string[];
  readonly checkRpmSignature?: string;
  readonly allowMissing?: boolean;
  readonly allowForeignArch?: boolean;
  readonly acceptWeakDigests?: boolean;
}

/** `import rpm`, `import platform`. */
export function importRpmCommands(parent: Command): void {
  rpmCommand(parent);
  platformCommand(parent);
}

function rpmCommand(parent: Command): void {
  const command = parent
    .command('rpm')
    .description('import packages into the repository ssr-DIST-ARCH, with a check that what they require is there')
    .usage('[check-rpm-signature POLICY] [force] distribution DIST architecture ARCH filepath FILE|DIR...')
    .argument('[words...]', 'the words of the usage; the same as flags')
    .option('--distribution <dist>', 'el7, el8, el9 …')
    .option('--architecture <arch>', 'x86_64, aarch64 …')
    .option('--filepath <files...>', 'packages, or folders that are searched for *.rpm')
    .option('--check-rpm-signature <policy>', `${SIGNATURE_POLICIES.join(', ')} (default: required)`)
    .option('--allow-missing', 'publish although something that is required is nowhere')
    .option('--allow-foreign-arch', 'publish packages for other architectures')
    .option('--accept-weak-digests', 'let in packages that nothing better than SHA-1 or MD5 covers')
    .option('--force', 'accepted for the vendor’s sake: nothing is asked')
    .addHelpText('after', '\nExample:\n  airlock import rpm distribution el9 architecture aarch64 filepath ./plugins/');
  appAction<[string[], RpmFlags]>(command, async (app, session, words, flags) => {
    const said = readWords(words, {
      'check-rpm-signature': 'value',
      force: 'flag',
      distribution: 'value',
      architecture: 'value',
      filepath: 'values',
    });
    const { files, target } = rpmTarget(said, flags);
    const report = await importRpms(await app.ingest(), files, target, session);
    return rpmResult(report);
  });
}

function platformCommand(parent: Command): void {
  const command = parent
    .command('platform')
    .description('tell what the routers’ base system provides, so that missing dependencies are found')
    .argument('<file>', 'the output of "rpm -qa --provides" on a router')
    .addHelpText('after', '\nExample:\n  airlock import platform el9-provides.txt');
  appAction<[string]>(command, async (app, session, file) => {
    const outcome = await importPlatform(await app.ingest(), file, session);
    const { outcome: what, repository, path, artifact } = outcome;
    const count = Number(artifact.facts.provides);
    return {
      json: { outcome: what, file, repository, path, provides: count, digest: artifact.digest },
      text: `✔ ${quoteUnsafe(`${repository}/${path}`)}: ${count} capabilities\nImport success`,
    };
  });
}

function rpmTarget(
  said: ReturnType<typeof readWords>,
  flags: RpmFlags,
): { files: readonly string[]; target: ImportRpmTarget } {
  const values = (word: string) => (Array.isArray(said[word]) ? (said[word] as readonly string[]) : undefined);
  const distribution = values('distribution')?.[0] ?? flags.distribution;
  const architecture = values('architecture')?.[0] ?? flags.architecture;
  const files = values('filepath') ?? flags.filepath ?? [];
  const absent = [
    ...(distribution === undefined ? ['distribution DIST'] : []),
    ...(architecture === undefined ? ['architecture ARCH'] : []),
    ...(files.length === 0 ? ['filepath FILE|DIR...'] : []),
  ];
  if (distribution === undefined || architecture === undefined || files.length === 0) {
    throw new AirlockError(
      'usage.invalid',
      `Say also: ${absent.join(', ')}. "airlock import rpm --help" shows an example.`,
    );
  }
  const policy = packagePolicy(values('check-rpm-signature')?.[0] ?? flags.checkRpmSignature, flags.acceptWeakDigests);
  const { allowMissing = false, allowForeignArch = false } = flags;
  return { files, target: { distribution, architecture, policy, allowMissing, allowForeignArch } };
}

const VERIFIED = {
  signature: 'verified by signature',
  checksum: 'not verified by signature',
  unverified: 'unverified',
};

function rpmResult(report: ImportRpmReport): Result {
  const { repository, revision, packages, unresolved, warnings } = report;
  const lines = packages.map(({ outcome, package: name, verification }) => {
    const what = outcome === 'present' ? 'is here already' : 'imported';
    return `✔ ${quoteUnsafe(name)} ${what}: ${VERIFIED[verification.status]}`;
  });
  const missing = unresolved.map((each) => `  warning: ${each.package} requires ${quoteUnsafe(each.requirement)}`);
  return {
    json: report,
    text: [
      ...lines,
      ...missing,
      ...warnings.map((warning) => `  warning: ${warning}`),
      `${repository} is at revision ${revision}`,
      'Import success',
    ].join('\n'),
  };
}
