/**
 * Mirroring a vendor's site, beside the programs that fetch from it otherwise.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DNF, Dnf } from '../support/dnf.ts';
import { type Nginx, startNginx } from '../support/nginx.ts';
import { runAirlock } from './support/airlock-server.ts';
import type { Bench, Group, Row } from './support/bench.ts';
import { GiB, hashFile, MiB, makeFile } from './support/content.ts';
import { makePackages } from './support/many-packages.ts';
import { run as runProgram } from './support/processes.ts';
import { ratios, spread } from './support/rounds.ts';
import { formatSeconds } from './support/table.ts';
import { formatSpread, memoryRow, peakOf, seconds, timed, turns, type Way } from './support/ways.ts';

const SMALL = 2000;
const MANY = 20_000;
const MEMORY = 200 * MiB;
const REPOSITORY = 'ssr-el7-x86_64';
const IMAGE = 'SSR-6.3.0-107.r1.el7.x86_64.ibu-v1.iso';

export const mirror: Group = {
  title: 'Mirrors',
  about: `The site is nginx on the loopback, and all may use both cores. Ratios are of rates. ${SMALL.toLocaleString('en')} packages of 20 KiB: the whole command
\`airlock upstream sync\`, with checks, storing and publishing, beside \`dnf reposync\`, which flushes nothing to the disk. An image of 1 GiB beside \`curl\`,
which neither hashes nor flushes. Then a repository of ${MANY.toLocaleString('en')} packages, metadata only (\`policy: on-demand\`): the first sync, and one that finds
nothing new.`,
  needs: ['nginx', 'createrepo_c', 'curl', ...DNF],
  run,
};

async function run(bench: Bench): Promise<readonly Row[]> {
  await using stack = new AsyncDisposableStack();
  const nginx = await startNginx({ after: (undo) => stack.defer(async () => void (await undo())) }, 1, () => ({
    lines: ['autoindex on;'],
  }));
  const url = `http://127.0.0.1:${nginx.ports[0]}`;
  return [
    await measureSmall(bench, nginx, url),
    await measureImage(bench, nginx, url),
    ...(await measureMany(bench, nginx, url)),
  ];
}

/** @param rule of `mirror:` @returns a data directory that has nothing yet */
async function newMirror(bench: Bench, name: string, url: string, rule: string): Promise<string> {
  const data = path.join(bench.dir, name);
  await rm(data, { recursive: true, force: true });
  await mkdir(data);
  await writeFile(
    path.join(data, 'airlock.yaml'),
    `upstreams: { site: { url: "${url}", mirror: [{ ${rule} }] } }
`,
  );
  await runProgram(bench, ['sync', '-f', data]);
  return data;
}

function rpmRule(folder: string, policy: string): string {
  return `kind: rpm, path: ${folder}, repository: ${REPOSITORY}, policy: ${policy}`;
}

interface Synced {
  readonly outcome: string;
  readonly requests: number;
  readonly rules: readonly { readonly added: readonly string[]; readonly failures: readonly unknown[] }[];
}

/** @throws Error unless it brought so many files, and nothing failed */
async function sync(bench: Bench, data: string, count: number): Promise<Synced> {
  const report = JSON.parse(await runAirlock(bench, ['--json', '--data', data, 'upstream', 'sync', 'site'])) as Synced;
  const added = report.rules.flatMap((rule) => rule.added).length;
  const failures = report.rules.flatMap((rule) => rule.failures);
  if (failures.length > 0 || added !== count) {
    throw new Error(`Wrong result. ${added} files instead of ${count} came: ${JSON.stringify(failures.slice(0, 3))}`);
  }
  return report;
}

async function publishPackages(bench: Bench, nginx: Nginx, folder: string, count: number, kilobytes: number) {
  bench.say(`making ${count} packages`);
  const dir = path.join(nginx.dir, folder);
  await makePackages(bench, dir, { count, kilobytes });
  await runProgram(bench, ['createrepo_c', '--quiet', '--no-database', '--workers', '2', dir]);
}

async function measureSmall(bench: Bench, nginx: Nginx, url: string): Promise<Row> {
  await publishPackages(bench, nginx, 'small', SMALL, 20);
  const repoFile = `[site]\nname=site\nbaseurl=${url}/small/\ngpgcheck=0\n`;
  const airlock: Way = {
    name: 'airlock upstream sync',
    go: async () => {
      const data = await newMirror(bench, 'small-data', url, rpmRule('small', 'immediate'));
      return await seconds(() => sync(bench, data, SMALL));
    },
  };
  const peer: Way = {
    name: 'dnf reposync',
    go: async () => {
      await using stack = new AsyncDisposableStack();
      const dnf = await Dnf.with({ after: (undo) => stack.defer(async () => void (await undo())) }, repoFile);
      const to = path.join(bench.dir, 'reposync');
      const time = await seconds(() =>
        dnf.run('reposync', '--repoid=site', '--download-metadata', '--download-path', to),
      );
      await rm(to, { recursive: true });
      return time;
    },
  };
  const results = await turns(bench, [peer, airlock]);
  const count = SMALL.toLocaleString('en');
  return rateRow(`${count} packages`, 0.8, [results(airlock), results(peer)], 'dnf reposync');
}

async function measureImage(bench: Bench, nginx: Nginx, url: string): Promise<Row> {
  bench.say('making an image of 1 GiB');
  const dir = path.join(nginx.dir, 'images', '6.3');
  await mkdir(dir, { recursive: true });
  const { file } = await makeFile(bench.dir, 'rootfs.img', GiB - 4 * MiB);
  const image = path.join(dir, IMAGE);
  await runProgram(bench, ['xorriso', '-as', 'mkisofs', '-quiet', '-r', '-V', 'SSR', '-o', image, file]);
  await rm(file);
  await writeFile(`${image}.sha256sum`, `${(await hashFile(image)).slice('sha256:'.length)}  ${IMAGE}\n`);
  const airlock: Way = {
    name: 'airlock upstream sync',
    go: async () => {
      const data = await newMirror(bench, 'image-data', url, 'kind: releases, path: images, select: ">=6.3"');
      return await seconds(() => sync(bench, data, 1));
    },
  };
  const copy = path.join(bench.dir, 'curl.iso');
  const peer: Way = {
    name: 'curl',
    go: async () => {
      await rm(copy, { force: true });
      await runProgram(bench, ['sync', '-f', bench.dir]);
      return await timed(bench, ['curl', '--silent', '--fail', '-o', copy, `${url}/images/6.3/${IMAGE}`]);
    },
  };
  const results = await turns(bench, [peer, airlock]);
  if ((await hashFile(copy)) !== (await hashFile(image))) throw new Error('Wrong bytes from curl.');
  return rateRow('an image of 1 GiB', 0.9, [results(airlock), results(peer)], 'curl');
}

async function measureMany(bench: Bench, nginx: Nginx, url: string): Promise<Row[]> {
  await publishPackages(bench, nginx, 'many', MANY, 1);
  const data = await newMirror(bench, 'many-data', url, rpmRule('many', 'on-demand'));
  const peak = await peakOf(bench, ['--data', data, 'upstream', 'sync', 'site']);
  const times: number[] = [];
  let requests = 0;
  for (let round = 0; round <= bench.rounds; round += 1) {
    const time = await seconds(async () => {
      requests = (await sync(bench, data, 0)).requests;
    });
    bench.say(`nothing new: ${formatSeconds(time)}, ${requests} requests`);
    if (round > 0) times.push(time);
  }
  const { median } = spread(times);
  const what = `${MANY.toLocaleString('en')} packages`;
  return [
    memoryRow(`resident memory, first sync of ${what}`, peak, MEMORY),
    {
      what: `a sync of ${what} that finds nothing new`,
      target: '≤ 2 s',
      result: formatSeconds(median),
      isMet: median <= 2,
      airlock: '',
      peer: '',
    },
    {
      what: 'the same: requests',
      target: '≤ 10',
      result: String(requests),
      isMet: requests <= 10,
      airlock: '',
      peer: '',
    },
  ];
}

/** @returns rate of Airlock ÷ that of the peer: more is better */
function rateRow(
  what: string,
  least: number,
  [ours, theirs]: readonly [readonly number[], readonly number[]],
  peer: string,
): Row {
  const rates = ratios(theirs, ours);
  return {
    what,
    target: `≥ ${least}×`,
    result: formatSpread(rates),
    isMet: rates.median >= least,
    airlock: formatSeconds(spread(ours).median),
    peer: `${peer} ${formatSeconds(spread(theirs).median)}`,
  };
}
