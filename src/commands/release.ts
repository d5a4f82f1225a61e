import type { Command } from 'commander';
import { EXIT } from '../errors.ts';
import { checkCompatibility } from '../repo/formats/releases/compatibility.ts';
import { sortReleases } from '../repo/formats/releases/order.ts';
import { describeReleases, requireReleases } from '../repo/formats/releases/release.ts';
import { action } from './command.ts';
import { formatTable } from './format.ts';

/** `release parse | sort | check`: what the vendors' names mean. They need no data directory. */
export function releaseCommands(program: Command): void {
  const parent = program.command('release').description("read, order and compare the vendors' release names");

  const parse = parent
    .command('parse')
    .argument('<name...>')
    .description('say what names mean; exit code 4 if one cannot be read')
    .addHelpText('after', '\nExample:\n  airlock release parse SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso 6.3.7-6-sts');
  action<[string[]]>(parse, async (_session, names) => {
    const described = describeReleases(names);
    const cell = (value: unknown) => (value === null ? '-' : String(value));
    const rows = described.map((each) => [
      each.input,
      cell(each.vendor),
      cell(each.product),
      number(each),
      cell(each.milestone),
      cell(each.dist),
      cell(each.arch),
      cell(each.kind),
      cell(each.form),
    ]);
    return {
      json: described,
      text: formatTable(['Name', 'Vendor', 'Product', 'Number', 'Milestone', 'Dist', 'Arch', 'Kind', 'Form'], rows),
      exitCode: described.every(({ ok }) => ok) ? EXIT.done : EXIT.unverified,
    };
  });

  const sort = parent
    .command('sort')
    .argument('<name...>')
    .description('put names in ascending order of their releases')
    .addHelpText('after', '\nExample:\n  airlock release sort 6.3.3-40r2 6.3.0-107r1 6.2.12-3-lts');
  action<[string[]]>(sort, async (_session, names) => {
    const sorted = sortReleases(names);
    return { json: sorted, text: sorted.join('\n') };
  });

  const check = parent
    .command('check')
    .requiredOption('--conductor <version>')
    .requiredOption('--router <version>')
    .description('say whether a router can run under a conductor; exit code 7 if not')
    .addHelpText('after', '\nExample:\n  airlock release check --conductor 6.3.4-7r2 --router 6.3.5-37-sts');
  action<[{ conductor: string; router: string }]>(check, async (_session, flags) => {
    const [conductor, router] = requireReleases([flags.conductor, flags.router]);
    if (conductor === undefined || router === undefined) throw new Error('two names give two releases');
    const { compatible, findings } = checkCompatibility({ conductor, router });
    return {
      json: { conductor: flags.conductor, router: flags.router, compatible, findings },
      text: [
        `${flags.router} under ${flags.conductor}: ${compatible ? 'compatible' : 'not compatible'}`,
        ...findings.map(({ severity, message }) => `  ${severity}: ${message}`),
      ].join('\n'),
      exitCode: compatible ? EXIT.done : EXIT.refused,
    };
  });
}

function number({
  major,
  minor,
  patch,
  build,
}: { [part in 'major' | 'minor' | 'patch' | 'build']: number | null }): string {
  const dotted = [major, minor, patch].filter((part) => part !== null).join('.');
  return build === null ? dotted || '-' : `${dotted}-${build}`;
}
