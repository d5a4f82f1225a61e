/**
 * How fast package repositories are made, beside createrepo_c, and served; what an import of a package image takes.
 */
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Digest } from '../../src/repo/blobs/blob-store.ts';
import { blobPath } from '../../src/repo/blobs/layout.ts';
import { trustKey } from './support/airlock-keys.ts';
import { makeDataDir, runAirlock, startAirlock } from './support/airlock-server.ts';
import { etagAt, mustAnswer } from './support/answer.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { hashFile, MiB } from './support/content.ts';
import { makePackages } from './support/many-packages.ts';
import { startNginx } from './support/nginx.ts';
import { run as runProgram } from './support/processes.ts';
import { ratios, spread, takeTurns } from './support/rounds.ts';
import { formatMemory, formatRate, formatSeconds } from './support/table.ts';
import { formatSpread, memoryRow, peakOf, seconds, timed, timeRow, turns, type Way } from './support/ways.ts';
import { measure } from './support/wrk.ts';

const COLD = 2000;
const MANY = 10_000;
const MOST = 50_000;
const IN_IMAGE = 500;
const MEMORY = 300 * MiB;
const REPOSITORY = 'ssr-el7-x86_64';
const IMAGE = '128T-6.2.6-15.sts.el7.OTP.v1.x86_64.iso';

export const packages: Group = {
  title: 'Packages',
  about: `Packages have 54 files, 8 provides, 23 requirements and 20 changelog entries each. createrepo_c: two workers, gzip, no database.
Ratios are Airlock ÷ peer of one round: of times, so less is better, but for the first row and the requests, which are rates.
The first row is what makes repodata in Airlock, on two threads, from the same files; the second the whole command \`airlock import rpm\`,
start, verification and storing included, beside \`createrepo_c --update\` in a folder that has the package already; then the same in a
process that is up and has imported one package before. The image holds
${IN_IMAGE} signed packages of 2 MiB. Memory is the peak of the command that imports an image of ${MOST.toLocaleString('en')} packages,
and of one that adds one more.`,
  needs: ['createrepo_c', 'xorriso', 'nginx', 'wrk', 'curl', 'taskset=util-linux'],
  run,
};

/** Node.js as the launchers start it: it finds its compiled code. */
const AIRLOCK_NODE = [
  'env',
  `NODE_COMPILE_CACHE=${path.join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'airlock')}`,
  process.execPath,
];

async function run(bench: Bench): Promise<readonly Row[]> {
  const cold = await measureCold(bench);
  const image = await measureImage(bench);
  bench.say(`making ${MOST} packages`);
  const made = path.join(bench.dir, 'most');
  await makePackages(bench, made, { count: MOST, kilobytes: 1 });
  const many = path.join(bench.dir, 'many');
  await mkdir(many);
  for (const folder of (await readdir(made)).filter((name) => Number(name) < MANY / 1000)) {
    await cp(path.join(made, folder), path.join(many, folder), { recursive: true });
  }
  const memory = await measureMemory(bench, made);
  const published = await makeDataDir(bench, 'many-data', { accessLog: false });
  await importFolder(bench, published, many);
  const added = await measureAdding(bench, published, many);
  return [cold, ...added, image, await measureConditional(bench, published), ...memory];
}

async function measureCold(bench: Bench): Promise<Row> {
  const folder = path.join(bench.dir, 'cold');
  const to = path.join(bench.dir, 'cold-repodata');
  await mkdir(to);
  bench.say(`making ${COLD} packages`);
  await makePackages(bench, folder, { count: COLD, kilobytes: 100 });
  const program = path.join(import.meta.dirname, 'support', 'cold-repodata.ts');
  const airlock: Way = {
    name: 'airlock',
    go: () => timed(bench, [...AIRLOCK_NODE, program, folder, to, '2']),
  };
  const peer: Way = {
    name: 'createrepo_c',
    go: async () => {
      await rm(path.join(folder, 'repodata'), { recursive: true, force: true });
      return await timed(bench, createrepo(folder));
    },
  };
  const results = await turns(bench, [peer, airlock]);
  const ours = countAll(await Promise.all(KINDS.map((kind) => unpacked(path.join(to, `${kind}.xml.gz`)))));
  mustBeSame(ours, await countsIn(folder), COLD);
  const rates = ratios(results(peer), results(airlock));
  return {
    what: `repodata of ${COLD.toLocaleString('en')} packages of 100 KiB, cold`,
    target: '≥ 1×',
    result: formatSpread(rates),
    isMet: rates.median >= 1,
    airlock: formatSeconds(spread(results(airlock)).median),
    peer: `createrepo_c ${formatSeconds(spread(results(peer)).median)}`,
  };
}

/** @param dataDir which has published what lies in `folder` */
async function measureAdding(bench: Bench, dataDir: string, folder: string): Promise<Row[]> {
  const extra = path.join(bench.dir, 'extra');
  const files = await makePackages(bench, extra, { count: bench.rounds + 1, kilobytes: 1, first: MOST + 2 });
  await runProgram(bench, createrepo(folder));
  const fileOf = (round: number) => files[round] ?? '';
  const airlock: Way = {
    name: 'airlock import rpm',
    go: (round) => seconds(() => importRpm(bench, dataDir, fileOf(round))),
  };
  const peer: Way = {
    name: 'createrepo_c --update',
    go: async (round) => {
      await cp(fileOf(round), path.join(folder, '0', path.basename(fileOf(round))));
      return await timed(bench, [...createrepo(folder), '--update']);
    },
  };
  const idle: Way = {
    name: 'airlock repo list',
    go: () => seconds(() => runAirlock(bench, ['--data', dataDir, 'repo', 'list'])),
  };
  const results = await turns(bench, [peer, airlock, idle]);
  mustBeSame(await countsPublished(bench, dataDir), await countsIn(folder), MANY + bench.rounds + 1);
  const resident = await addInOneProcess(bench, dataDir);
  const rowOf = (what: string, most: number | undefined, ours: readonly number[]) =>
    timeRow(what, most, [ours, results(peer)], 'createrepo_c --update');
  return [
    rowOf(`adding a package to ${MANY.toLocaleString('en')}`, 0.1, results(airlock)),
    rowOf('the same in a process that is up', 0.1, resident),
    rowOf('of the whole command, starting it (`airlock repo list`)', undefined, results(idle)),
  ];
}

/** @returns the seconds of as many imports as there are rounds; one before them warms up */
async function addInOneProcess(bench: Bench, dataDir: string): Promise<readonly number[]> {
  const more = path.join(bench.dir, 'more');
  const files = await makePackages(bench, more, { count: bench.rounds + 1, kilobytes: 1, first: 2 * MOST });
  const program = path.join(import.meta.dirname, 'support', 'adding-packages-child.ts');
  const printed = await runProgram(bench, [...AIRLOCK_NODE, program, dataDir, ...files]);
  const times = printed.trim().split('\n').map(Number);
  bench.say(`in one process: ${times.map(formatSeconds).join(', ')}`);
  return times.slice(1);
}

async function measureImage(bench: Bench): Promise<Row> {
  bench.say(`making an image of ${IN_IMAGE} packages of 2 MiB`);
  const dir = path.join(bench.dir, 'image');
  const [tree, target] = [path.join(dir, 'tree'), path.join(dir, 'target')];
  const key = await trustKey();
  await makePackages(bench, tree, { count: IN_IMAGE, kilobytes: 2048, signers: { rsa: key.sign } });
  const image = await makeImage(bench, dir, tree);
  await rm(tree, { recursive: true });
  const digest = await hashFile(image);
  const clean = async () => {
    await rm(target, { recursive: true, force: true });
    await mkdir(target);
    await key.trustIn(bench, target);
    await runProgram(bench, ['sync', '-f', target]);
  };
  const airlock: Way = {
    name: 'airlock import iso',
    go: async () => {
      await clean();
      const time = await seconds(() => importIso(bench, target, image));
      await mustHave(blobPath(target, digest), digest);
      const { packages: found } = await countsPublished(bench, target);
      if (found !== IN_IMAGE) throw new Error(`Wrong result. ${found} of ${IN_IMAGE} packages were published.`);
      return time;
    },
  };
  const copy = path.join(target, IMAGE);
  const peer: Way = {
    name: 'cp and sync',
    go: async () => {
      await clean();
      const time = await timed(bench, ['sh', '-c', 'cp "$1" "$2" && sync -f "$2"', 'sh', image, copy]);
      await mustHave(copy, digest);
      return time;
    },
  };
  const results = await turns(bench, [peer, airlock]);
  await rm(dir, { recursive: true });
  return timeRow('import of a package image of 1 GiB', 1.5, [results(airlock), results(peer)], 'cp and sync');
}

/** @param dataDir whose repomd.xml both serve */
async function measureConditional(bench: Bench, dataDir: string): Promise<Row> {
  await using stack = new AsyncDisposableStack();
  const { url } = await startAirlock(stack, dataDir);
  const ours = `${url}/repos/${REPOSITORY}/repodata/repomd.xml`;
  const etag = await etagAt(bench, ours);
  const digest: Digest = `sha256:${/[0-9a-f]{64}/.exec(etag)?.[0] ?? ''}`;
  const nginx = await startNginx(bench, stack, new Map([['repomd.xml', blobPath(dataDir, digest)]]));
  const urls = [`${nginx}/repomd.xml`, ours];
  const loads = new Map<string, Parameters<typeof measure>[1]>();
  for (const each of urls) {
    const headers = [`If-None-Match: ${await etagAt(bench, each)}`];
    const body = await mustAnswer(bench, each, headers, { status: 304, body: { size: 0, digest: NOTHING } });
    loads.set(each, { url: each, headers, connections: 32, body });
  }
  const ask = async (each: string, time: number) => {
    const load = loads.get(each);
    return load === undefined ? Number.NaN : (await measure(bench, load, time)).requestsPerSecond;
  };
  for (const each of urls) await ask(each, Math.min(2, bench.seconds));
  const results = await takeTurns(urls, bench.rounds, async (each, round) => {
    const rate = await ask(each, bench.seconds);
    bench.say(`conditional GETs, round ${round}: ${each} ${formatRate(rate)}`);
    return rate;
  });
  const [theirRates, ourRates] = urls.map((each) => results.get(each) ?? []);
  const rates = ratios(ourRates ?? [], theirRates ?? []);
  const rate = spread(ourRates ?? []).median;
  return {
    what: 'repomd.xml, `If-None-Match` → 304',
    target: '≥ 0.5×, or 10,000/s',
    result: formatSpread(rates),
    isMet: rates.median >= 0.5 || rate >= 10_000,
    airlock: formatRate(rate),
    peer: `nginx ${formatRate(spread(theirRates ?? []).median)}`,
  };
}

async function measureMemory(bench: Bench, tree: string): Promise<Row[]> {
  const dataDir = await makeDataDir(bench, 'most-data', { accessLog: false });
  const whole = await importFolder(bench, dataDir, tree);
  bench.say(`importing ${MOST} packages: ${formatMemory(whole)}`);
  const [extra = ''] = await makePackages(bench, path.join(bench.dir, 'one'), {
    count: 1,
    kilobytes: 1,
    first: MOST + 1,
  });
  const one = await importRpm(bench, dataDir, extra);
  const { packages: found } = await countsPublished(bench, dataDir);
  if (found !== MOST + 1) throw new Error(`Wrong result. ${found} packages were published instead of ${MOST + 1}.`);
  await rm(dataDir, { recursive: true });
  const count = MOST.toLocaleString('en');
  return [
    memoryRow(`resident memory, importing ${count} packages`, whole, MEMORY),
    memoryRow(`resident memory, adding one to ${count}`, one, MEMORY),
  ];
}

function createrepo(folder: string): string[] {
  return ['createrepo_c', '--quiet', '--no-database', '--workers', '2', folder];
}

/** Imports what lies in a folder, unsigned, from an image. @returns the peak of resident memory, bytes */
async function importFolder(bench: Bench, dataDir: string, folder: string): Promise<number> {
  const dir = path.join(bench.dir, 'from-folder');
  const image = await makeImage(bench, dir, folder);
  const peak = await importIso(bench, dataDir, image, ['check-rpm-signature', 'allow-unsigned']);
  await rm(dir, { recursive: true });
  return peak;
}

async function makeImage(bench: Bench, dir: string, tree: string): Promise<string> {
  await mkdir(dir, { recursive: true });
  const image = path.join(dir, IMAGE);
  await runProgram(bench, ['xorriso', '-as', 'mkisofs', '-quiet', '-r', '-V', '128T', '-o', image, tree]);
  return image;
}

async function importIso(bench: Bench, dataDir: string, image: string, words: readonly string[] = []): Promise<number> {
  return await peakOf(bench, ['--data', dataDir, 'import', 'iso', ...words, 'force', 'filepath', image]);
}

async function importRpm(bench: Bench, dataDir: string, file: string): Promise<number> {
  const target = ['distribution', 'el7', 'architecture', 'x86_64', 'filepath', file];
  const policy = ['check-rpm-signature', 'allow-unsigned', 'force'];
  return await peakOf(bench, ['--data', dataDir, 'import', 'rpm', ...policy, ...target]);
}

async function mustHave(file: string, digest: Digest): Promise<void> {
  const found = await hashFile(file);
  if (found !== digest) throw new Error(`Wrong bytes. ${file} has ${found}, and must have ${digest}.`);
}

const KINDS = ['primary', 'filelists', 'other'] as const;
const NOTHING: Digest = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** What three documents of metadata say, in numbers. */
interface Counts {
  readonly packages: number;
  readonly files: number;
  readonly dependencies: number;
  readonly changelogs: number;
}

function countAll(documents: readonly string[]): Counts {
  const count = (what: RegExp) => documents.reduce((sum, text) => sum + (text.match(what)?.length ?? 0), 0);
  return {
    packages: count(/<package /g) / KINDS.length,
    files: count(/<file[ >]/g),
    dependencies: count(/<rpm:entry /g),
    changelogs: count(/<changelog /g),
  };
}

/** Of what createrepo_c wrote. */
async function countsIn(folder: string): Promise<Counts> {
  const names = await readdir(path.join(folder, 'repodata'));
  const found = KINDS.map((kind) => names.find((name) => name.endsWith(`-${kind}.xml.gz`)) ?? '');
  return countAll(await Promise.all(found.map((name) => unpacked(path.join(folder, 'repodata', name)))));
}

async function unpacked(file: string): Promise<string> {
  return gunzipSync(await readFile(file)).toString();
}

/** Of what is published, fetched as clients do. */
async function countsPublished(bench: Bench, dataDir: string): Promise<Counts> {
  await using stack = new AsyncDisposableStack();
  const { url } = await startAirlock(stack, dataDir);
  const fetched = async (name: string) => {
    const response = await fetch(`${url}/repos/${REPOSITORY}/${name}`, { signal: bench.signal });
    if (!response.ok) throw new Error(`Wrong answer. ${name}: status ${response.status}`);
    return await response.bytes();
  };
  const repomd = Buffer.from(await fetched('repodata/repomd.xml')).toString();
  const documents: string[] = [];
  for (const kind of KINDS) {
    const name = new RegExp(`href="(repodata/[^"]*-${kind}\\.xml\\.gz)"`).exec(repomd)?.[1];
    documents.push(gunzipSync(await fetched(name ?? `${kind} in repomd.xml`)).toString());
  }
  return countAll(documents);
}

/** @throws Error unless both say the same, of so many packages */
function mustBeSame(ours: Counts, theirs: Counts, count: number): void {
  const [a, b] = [ours, theirs].map((each) => JSON.stringify(each));
  if (a === b && ours.packages === count) return;
  throw new Error(`Wrong result. Of ${count} packages, Airlock lists ${a}, createrepo_c ${b}.`);
}
