/**
 * How long the import of a large image takes, beside copying it.
 */
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Digest } from '../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../src/repo/blobs/layout.ts';
import { runAirlock } from './support/airlock-server.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { GiB, hashFile, MiB, makeFile } from './support/content.ts';
import { peakUntilGone } from './support/memory.ts';
import { run as runProgram } from './support/processes.ts';
import { ratios, spread, takeTurns } from './support/rounds.ts';
import { formatMemory, formatRatio, formatSeconds } from './support/table.ts';

export const importing: Group = {
  title: 'Import',
  about: `A 1 GiB ISO, made by xorriso, with its checksum file: \`airlock import iso\` into an empty data directory, beside \`cp ISO DIR/ && sync -f DIR/ISO\` to
the same file system. Both may use all cores; the ISO is in the page cache; what was written is removed, and the file system synced, before each turn.`,
  needs: ['xorriso', 'strace'],
  run,
};

const NAME = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';

interface Image {
  readonly file: string;
  readonly size: number;
  readonly digest: Digest;
}

interface Way {
  readonly name: string;
  /** Writes anew below `target`, which is empty, and gives what is to be compared. */
  readonly go: () => Promise<Turn>;
}

interface Turn {
  readonly seconds: number;
  /** Most that was resident, bytes; 0 where nobody looked. */
  readonly peak: number;
}

async function run(bench: Bench): Promise<readonly Row[]> {
  const dir = path.join(bench.dir, 'import');
  await mkdir(dir);
  bench.say('making a 1 GiB ISO');
  const image = await makeImage(bench, dir);
  const target = path.join(dir, 'target');
  const airlock: Way = { name: 'airlock import iso', go: () => importImage(bench, image, target) };
  const copy: Way = { name: 'cp and sync', go: () => copyImage(bench, image, target) };
  const turn = async ({ name, go }: Way, label: string) => {
    await empty(bench, target);
    const result = await go();
    bench.say(`${label}: ${name} ${formatSeconds(result.seconds)}`);
    return result;
  };
  for (const way of [copy, airlock]) await turn(way, 'warm-up');
  const results = await takeTurns([copy, airlock], bench.rounds, (way, round) => turn(way, `round ${round}`));
  await empty(bench, target);
  const read = await bytesRead(bench, dir, image, target);
  bench.say(`${read} of ${image.size} bytes read`);

  const ours = results.get(airlock) ?? [];
  const seconds = (turns: readonly Turn[] = []) => turns.map((each) => each.seconds);
  const { median, min, max } = ratios(seconds(ours), seconds(results.get(copy)));
  const peak = Math.max(...ours.map((each) => each.peak));
  return [
    {
      what: 'time',
      target: '≤ 1.3×',
      result: `${formatRatio(median)} (${formatRatio(min)}–${formatRatio(max)})`,
      isMet: median <= 1.3,
      airlock: formatSeconds(spread(seconds(ours)).median),
      peer: `cp and sync ${formatSeconds(spread(seconds(results.get(copy))).median)}`,
    },
    {
      what: 'resident memory, peak',
      target: '≤ 150 MiB',
      result: formatMemory(peak),
      isMet: peak <= 150 * MiB,
      airlock: '',
      peer: '',
    },
    {
      what: 'bytes read from the medium ÷ size of the image',
      target: '1.00×',
      result: formatRatio(read / image.size),
      isMet: read === image.size,
      airlock: `${read.toLocaleString('en')} bytes`,
      peer: '',
    },
  ];
}

/** An image as vendors make them: what it installs is one large file in it. */
async function makeImage(bench: Bench, dir: string): Promise<Image> {
  const tree = path.join(dir, 'tree');
  await mkdir(path.join(tree, 'LiveOS'), { recursive: true });
  await writeFile(path.join(tree, 'manifest.yaml'), 'version: 6.3.0-107.r1.el7\ninstall-type: image\n');
  await makeFile(path.join(tree, 'LiveOS'), 'rootfs.img', GiB - 4 * MiB);
  await makeFile(path.join(tree, 'LiveOS'), 'vmlinuz', 3 * MiB);
  const file = path.join(dir, NAME);
  await runProgram(bench, ['xorriso', '-as', 'mkisofs', '-quiet', '-r', '-J', '-V', 'SSR', '-o', file, tree]);
  await rm(tree, { recursive: true });
  const digest = await hashFile(file);
  await writeFile(`${file}.sha256sum`, digest.slice('sha256:'.length));
  return { file, size: (await stat(file)).size, digest };
}

/** Nothing that somebody wrote before is left to be written in the next turn. */
async function empty(bench: Bench, target: string): Promise<void> {
  await rm(target, { recursive: true, force: true });
  await mkdir(target);
  await runProgram(bench, ['sync', '-f', target]);
}

const importArgs = (image: Image, target: string) => [
  '--data',
  target,
  'import',
  'iso',
  'force',
  'filepath',
  image.file,
];

async function importImage(bench: Bench, image: Image, target: string): Promise<Turn> {
  const before = performance.now();
  let peak = Promise.resolve(0);
  await runAirlock(bench, importArgs(image, target), {}, ({ pid = 0 }) => {
    peak = peakUntilGone(pid);
  });
  const seconds = (performance.now() - before) / 1000;
  await mustEqual(blobPath(target, image.digest), image);
  return { seconds, peak: await peak };
}

async function copyImage(bench: Bench, { file, digest }: Image, target: string): Promise<Turn> {
  const before = performance.now();
  const copy = path.join(target, NAME);
  await runProgram(bench, ['sh', '-c', 'cp "$1" "$2/" && sync -f "$3"', 'sh', file, target, copy]);
  const seconds = (performance.now() - before) / 1000;
  await mustEqual(copy, { digest });
  return { seconds, peak: 0 };
}

async function mustEqual(file: string, { digest }: Pick<Image, 'digest'>): Promise<void> {
  const found = await hashFile(file);
  if (found !== digest) throw new Error(`Wrong bytes. ${file} has ${found}, and must have ${digest}.`);
}

const READS = 'read,pread64,readv,preadv,preadv2,sendfile,splice,copy_file_range';

/** What one more import, watched by strace, reads of the image. */
async function bytesRead(bench: Bench, dir: string, image: Image, target: string): Promise<number> {
  const trace = path.join(dir, 'strace');
  const wrapper = ['strace', '-f', '-qq', '-o', trace, '-P', image.file, '-e', `trace=${READS}`];
  await runAirlock(bench, importArgs(image, target), { wrapper });
  const lines = (await readFile(trace, 'utf8')).split('\n');
  return lines.reduce((sum, line) => sum + Number(/= (\d+)$/.exec(line)?.[1] ?? 0), 0);
}
