/**
 * Bundles on removable media: how large deltas are, how long export and import take, and how much memory.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { runAirlock } from './support/airlock-server.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { GiB, type MadeFile, MiB, makeFile } from './support/content.ts';
import { makePackages } from './support/many-packages.ts';
import { run as runProgram } from './support/processes.ts';
import { spread } from './support/rounds.ts';
import { formatRatio, formatSeconds } from './support/table.ts';
import { memoryRow, peakOf, seconds, timed, timeRow, turns, type Way } from './support/ways.ts';

const PACKAGES = 300;
/** Of them, those that the second release has anew. */
const REPLACED = 60;
const ARTIFACTS = 100_000;
const SITE = 'north';
const MEMORY = 256 * MiB;
const FIRST = '128T-6.2.5-5.r2.el7.OTP.v1.x86_64.iso';
const SECOND = '128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso';

export const bundles: Group = {
  title: 'Bundles',
  about: `Deltas: two images of ${PACKAGES} packages of 1 MiB, of which the second has ${REPLACED} that the first has not; and the tree of an image, as a
tar, for a site that has the image. Theirs is the size of \`zstd --patch-from\` given the pair; ours is all that the bundle takes on its medium.
Full export and import: a file of 1 GiB, to a folder of the same disk, beside \`cp\` and \`sync\` of that file (export) and of the bundle (import).
The export reads back what it wrote, past the system's cache, and compares it; the second row is without that (\`--no-readback\`). Planning:
\`airlock export --dry-run\` for a site that holds ${ARTIFACTS.toLocaleString('en')} files of 4 KiB and the first of those two images, when the second is new.`,
  needs: ['xorriso', 'zstd', 'tar', 'eatmydata'],
  run,
};

async function run(bench: Bench): Promise<readonly Row[]> {
  return [...(await measureDeltas(bench)), ...(await measureFull(bench)), await measurePlanning(bench)];
}

/** A station that signs bundles for a site. */
interface Pair {
  readonly station: string;
  /** @returns the data directory of a site that trusts the station and has nothing */
  newSite(name: string): Promise<string>;
  /** Makes a data directory that of a site. */
  introduce(data: string): Promise<void>;
}

async function makePair(bench: Bench, name: string): Promise<Pair> {
  const station = path.join(bench.dir, `${name}-station`);
  const root = path.join(bench.dir, `${name}-root.json`);
  await runAirlock(bench, ['--data', station, 'keys', 'init']);
  await runAirlock(bench, ['--data', station, 'keys', 'export-root', root]);
  const introduce = async (data: string) => {
    await runAirlock(bench, ['--data', data, 'trust', 'add', root, '--site', SITE]);
  };
  return {
    station,
    introduce,
    async newSite(site) {
      const data = path.join(bench.dir, site);
      await introduce(data);
      return data;
    },
  };
}

async function measureDeltas(bench: Bench): Promise<Row[]> {
  bench.say('making two images');
  const pair = await makePair(bench, 'delta');
  const site = await pair.newSite('delta-site');
  const { images, tree } = await makeImages(bench);
  const [first = '', second = ''] = images;
  const carry = async (name: string) => {
    const to = path.join(bench.dir, name);
    await mkdir(to);
    await runAirlock(bench, ['--data', pair.station, 'export', '--site', SITE, '--to', to]);
    const size = await bytesBelow(to);
    await runAirlock(bench, ['--data', site, 'import', 'bundle', to]);
    await carryReceipt(bench, site, pair.station);
    await rm(to, { recursive: true });
    return size;
  };
  await importIso(bench, pair.station, first);
  await carry('first');
  await importIso(bench, pair.station, second);
  const delta = await carry('second');
  const patch = path.join(bench.dir, 'patch.zst');
  await runProgram(bench, ['zstd', '-q', '-f', '--long=31', `--patch-from=${first}`, second, '-o', patch]);
  const theirs = (await stat(patch)).size;
  bench.say(`delta ${delta}, zstd ${theirs}`);

  const tar = path.join(bench.dir, 'tree.tar');
  await runProgram(bench, ['tar', '-C', tree, '-cf', tar, '.']);
  await runAirlock(bench, [
    '--data',
    pair.station,
    'import',
    'file',
    '--repository',
    'files',
    '--path',
    'tree.tar',
    tar,
  ]);
  const again = await carry('tar');
  const size = (await stat(tar)).size;
  for (const used of [...images, tree, tar, patch, pair.station, site]) await rm(used, { recursive: true });
  return [
    {
      what: `bundle of a second image of ${Math.round(size / MiB)} MiB ÷ \`zstd --patch-from\``,
      target: '≤ 1.2×',
      result: formatRatio(delta / theirs),
      isMet: delta <= 1.2 * theirs,
      airlock: `${delta.toLocaleString('en')} bytes`,
      peer: `zstd ${theirs.toLocaleString('en')} bytes`,
    },
    {
      what: 'bundle of a tar of the same tree ÷ the tar',
      target: '≤ 0.01×',
      result: formatRatio(again / size),
      isMet: again <= 0.01 * size,
      airlock: `${again.toLocaleString('en')} bytes`,
      peer: '',
    },
  ];
}

/** The station learns what the site holds. */
async function carryReceipt(bench: Bench, site: string, station: string): Promise<void> {
  const folder = path.join(bench.dir, 'receipt');
  await mkdir(folder);
  await runAirlock(bench, ['--data', site, 'receipt', 'write', '--to', folder]);
  const [receipt = ''] = await readdir(folder);
  await runAirlock(bench, ['--data', station, 'receipt', 'accept', path.join(folder, receipt)]);
  await rm(folder, { recursive: true });
}

/** @returns two images, and the tree of the second one */
async function makeImages(bench: Bench): Promise<{ images: readonly string[]; tree: string }> {
  const tree = path.join(bench.dir, 'tree');
  await makePackages(bench, tree, { count: PACKAGES, kilobytes: 1024 });
  const image = async (name: string) => {
    const file = path.join(bench.dir, name);
    await runProgram(bench, ['xorriso', '-as', 'mkisofs', '-quiet', '-r', '-V', '128T', '-o', file, tree]);
    return file;
  };
  const first = await image(FIRST);
  const old = (await readdir(path.join(tree, '0')))
    .toSorted()
    .filter((_, index) => index % (PACKAGES / REPLACED) === 0);
  for (const name of old) await rm(path.join(tree, '0', name));
  await makePackages(bench, tree, { count: REPLACED, kilobytes: 1024, first: PACKAGES + 1 });
  return { images: [first, await image(SECOND)], tree };
}

async function importIso(bench: Bench, data: string, file: string): Promise<void> {
  const words = ['check-rpm-signature', 'allow-unsigned', 'force', 'filepath', file];
  await runAirlock(bench, ['--data', data, 'import', 'iso', ...words]);
}

async function measureFull(bench: Bench): Promise<Row[]> {
  bench.say('making a file of 1 GiB');
  const pair = await makePair(bench, 'full');
  const content = await makeFile(bench.dir, 'content.bin', GiB);
  const place = ['--repository', 'files', '--path', content.name];
  await runAirlock(bench, ['--data', pair.station, 'import', 'file', ...place, content.file]);
  const out = path.join(bench.dir, 'out');
  const [readback, blind] = [exportTo(bench, pair.station, out), exportTo(bench, pair.station, out, ['--no-readback'])];
  const copy = copyTo(bench, content, out);
  const exported = await turns(bench, [copy, readback, blind]);

  const stick = path.join(bench.dir, 'stick');
  await mkdir(stick);
  const exportPeak = await peakOf(bench, exportWords(pair.station, stick));
  const target = path.join(bench.dir, 'target');
  let importPeak = 0;
  const bringing: Way = {
    name: 'airlock import bundle',
    go: async () => {
      await rm(target, { recursive: true, force: true });
      const site = await pair.newSite('target');
      await runProgram(bench, ['sync', '-f', site]);
      const time = await seconds(async () => {
        importPeak = Math.max(importPeak, await peakOf(bench, ['--data', site, 'import', 'bundle', stick]));
      });
      await mustHold(bench, site, content);
      return time;
    },
  };
  const copying: Way = {
    name: 'cp and sync',
    go: async () => {
      await empty(bench, target);
      return await timed(bench, ['sh', '-c', 'cp -r "$1" "$2/" && sync -f "$2"', 'sh', stick, target]);
    },
  };
  const imported = await turns(bench, [copying, bringing]);
  return [
    timeRow('full export of 1 GiB', 1.5, [exported(readback), exported(copy)], 'cp and sync'),
    timeRow('full export, not read back', undefined, [exported(blind), exported(copy)], 'cp and sync'),
    timeRow('full import of 1 GiB', 1.5, [imported(bringing), imported(copying)], 'cp and sync'),
    memoryRow('resident memory, export', exportPeak, MEMORY),
    memoryRow('resident memory, import', importPeak, MEMORY),
  ];
}

async function measurePlanning(bench: Bench): Promise<Row> {
  bench.say(`making ${ARTIFACTS} artifacts`);
  const pair = await makePair(bench, 'plan');
  const site = path.join(bench.dir, 'plan-site');
  const { images, tree } = await makeImages(bench);
  const [first = '', second = ''] = images;
  // a receipt is accepted of sites only to which something was exported
  const before = path.join(bench.dir, 'before');
  await mkdir(before);
  await runAirlock(bench, exportWords(pair.station, before));
  await rm(before, { recursive: true });
  const program = path.join(import.meta.dirname, 'support', 'many-artifacts-child.ts');
  await runProgram(bench, ['eatmydata', process.execPath, program, pair.station, String(ARTIFACTS)], LONG);
  await importIso(bench, pair.station, first);
  await runProgram(bench, ['cp', '-r', pair.station, site]);
  await rm(path.join(site, 'keys'), { recursive: true });
  await pair.introduce(site);
  await carryReceipt(bench, site, pair.station);
  await rm(site, { recursive: true });
  await importIso(bench, pair.station, second);
  const times: number[] = [];
  for (let round = 0; round <= bench.rounds; round += 1) {
    const words = ['--json', ...exportWords(pair.station, bench.dir), '--dry-run'];
    let planned = '';
    const time = await seconds(async () => {
      planned = await runAirlock(bench, words);
    });
    const { bytes } = JSON.parse(planned) as { bytes: { deltas: number; whole: number } };
    if (bytes.deltas === 0 || bytes.whole > MiB) throw new Error(`Wrong result. It was planned as ${planned}.`);
    bench.say(`planning${round === 0 ? ', for the first time' : ''}: ${formatSeconds(time)}`);
    times.push(time);
  }
  for (const used of [...images, tree, pair.station]) await rm(used, { recursive: true });
  const [cold = Number.NaN, ...again] = times;
  return {
    what: `planning a delta among ${ARTIFACTS.toLocaleString('en')} artifacts`,
    target: '≤ 10 s',
    result: `${formatSeconds(cold)}, then ${formatSeconds(spread(again).median)}`,
    isMet: cold <= 10,
    airlock: '',
    peer: '',
  };
}

/** Making many artifacts takes a while. Milliseconds. */
const LONG = 900_000;

function exportWords(station: string, to: string): string[] {
  return ['--data', station, 'export', '--site', SITE, '--to', to];
}

function exportTo(bench: Bench, station: string, to: string, more: readonly string[] = []): Way {
  return {
    name: ['airlock export', ...more].join(' '),
    go: async () => {
      await empty(bench, to);
      const time = await seconds(() => runAirlock(bench, [...exportWords(station, to), ...more]));
      if ((await bytesBelow(to)) < GiB)
        throw new Error('Wrong result. The bundle has fewer bytes than what it carries.');
      return time;
    },
  };
}

function copyTo(bench: Bench, { file }: MadeFile, to: string): Way {
  return {
    name: 'cp and sync',
    go: async () => {
      await empty(bench, to);
      return await timed(bench, ['sh', '-c', 'cp "$1" "$2/" && sync -f "$2"', 'sh', file, to]);
    },
  };
}

/** Nothing that somebody wrote before is left to be written in the next turn. */
async function empty(bench: Bench, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  await runProgram(bench, ['sync', '-f', folder]);
}

async function mustHold(bench: Bench, data: string, { name, digest }: MadeFile): Promise<void> {
  const shown = JSON.parse(await runAirlock(bench, ['--data', data, '--json', 'repo', 'show', 'files'])) as {
    readonly entries: readonly { readonly path: string; readonly digest: string }[];
  };
  if (shown.entries.some((entry) => entry.path === name && entry.digest === digest)) return;
  throw new Error(`Wrong result. ${name} did not arrive.`);
}

async function bytesBelow(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async (file) => (await stat(path.join(file.parentPath, file.name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
