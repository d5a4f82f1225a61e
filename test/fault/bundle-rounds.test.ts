/**
 * Exports onto a FAT stick and imports from it, round after round, each of them killed or the stick pulled at some moment.
 * After each: the site has what it had, or all of the new; the station can go on; in the end everything is over there.
 *
 * AIRLOCK_ROUNDS says how many (200 with AIRLOCK_DEEP=1), AIRLOCK_SEED takes up the moments of another run.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAirlockError } from '../../src/errors.ts';
import { parseMedium } from '../../src/sync/bundle/medium-size.ts';
import { type CliResult, ended, startCli } from '../support/cli.ts';
import { formatImage, type Mounted, mountImage, needsStick } from '../support/media.ts';
import { type Place, scene } from '../sync/scene.ts';
import { isDeep } from './points.ts';

const ROUNDS = Number(process.env.AIRLOCK_ROUNDS ?? (isDeep ? 200 : 8));
const SEED = Number(process.env.AIRLOCK_SEED ?? randomInt(2 ** 31));
const MIB = 2 ** 20;

/** The process is killed; the stick goes away with what is open still readable, as a lazy unmount does it; or at once. */
type Fault = 'killed' | 'unmounted' | 'cut';

/** A stick that can be pulled and put in again. */
class FatStick {
  readonly dir: string;
  readonly #image: string;
  #mounted: Mounted | undefined;

  constructor(place: string) {
    this.dir = path.join(place, 'mounted');
    this.#image = path.join(place, 'image');
    mkdirSync(this.dir);
    formatImage('fat32', this.#image, 64);
  }

  async plugIn(): Promise<void> {
    this.#mounted ??= await mountImage('fat32', this.#image, this.dir);
  }

  /** Whoever has files open there keeps them; the name leads to an empty folder. */
  unmount(): void {
    spawnSync('umount', ['-l', this.dir]);
  }

  /** Everything fails there. A FAT that is being written is damaged by it, which is not ours to mend. */
  async cut(): Promise<void> {
    await this.#mounted?.kill();
  }

  /** Once nobody has files open there, as systems do it: what is damaged is mended. */
  async putBack(): Promise<void> {
    for (let tries = 0; tries < 2000 && isRunWith(this.#image); tries += 1) await sleep(10); // it still writes
    await this.remove();
    const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
    spawnSync('fsck.vfat', ['-a', this.#image], { env: { ...process.env, PATH } });
    await this.plugIn();
  }

  /**
   * While it is away: takes away what a command that began too late wrote to the folder under its path, which to it was a
   * folder as any other. @returns whether there was something
   */
  clearUnderneath(): boolean {
    const isUsed = readdirSync(this.dir).length > 0;
    this.empty();
    return isUsed;
  }

  empty(): void {
    for (const name of readdirSync(this.dir)) rmSync(path.join(this.dir, name), { recursive: true });
  }

  async remove(): Promise<void> {
    await this.#mounted?.unmount();
    this.#mounted = undefined;
  }
}

/** True while a process has this among its arguments: the driver. */
function isRunWith(file: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(file);
    } catch {
      return false; // it ended
    }
  });
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One side's command, and how it can be seen that it has begun to work. */
interface Side {
  readonly args: readonly string[];
  readonly hasBegun: () => boolean;
}

/** How long a side takes until it begins, and how long its work takes: milliseconds, as far as is known by now. */
interface Pace {
  readonly begin: number;
  work: number;
}

async function undisturbed(side: Side): Promise<Pace> {
  const started = performance.now();
  const child = startCli(side.args);
  const result = ended(child);
  await begun(side, child);
  const begin = performance.now() - started;
  const { code, stderr } = await result;
  assert.equal(code, 0, stderr);
  return { begin, work: performance.now() - started - begin };
}

async function begun({ hasBegun }: Side, child: ChildProcess): Promise<void> {
  while (!hasBegun() && child.exitCode === null && child.signalCode === null) await sleep(2);
}

interface Disturbed extends CliResult {
  /** It never saw the stick, and wrote elsewhere. */
  readonly isAstray: boolean;
}

/** Most faults come while it works, some before. */
async function disturbed(
  side: Side,
  pace: Pace,
  fault: Fault,
  stick: FatStick,
  random: () => number,
): Promise<Disturbed> {
  const child = startCli(side.args);
  const result = ended(child);
  const isEarly = random() < 0.1;
  if (isEarly) {
    await Promise.race([result, sleep(random() * pace.begin)]);
  } else {
    const after = random() * pace.work;
    await begun(side, child);
    await Promise.race([result, sleep(after)]);
  }
  if (fault === 'unmounted') stick.unmount();
  else if (fault === 'cut') await stick.cut();
  else child.kill('SIGKILL');
  const outcome = await result;
  pace.work *= outcome.code === 0 ? 0.8 : 1.1; // machines are now slow, now fast: most faults shall come in time
  const isAstray = fault === 'unmounted' && stick.clearUnderneath();
  assert.ok(isEarly || !isAstray, 'something was written under the path of a stick that was pulled');
  if (fault !== 'killed') await stick.putBack();
  return { ...outcome, isAstray };
}

/** Killed, all done before it was, or told in words that it can be gone on with. */
function assertOrderly({ code, signal, stderr }: CliResult, fault: Fault): string {
  if (signal === 'SIGKILL') assert.equal(fault, 'killed');
  else assert.ok(code === 0 || (fault !== 'killed' && (code === 5 || code === 3)), `${code}: ${stderr}`);
  return signal ?? `exit ${code}${/ \(([a-z.-]+)\)/.exec(stderr)?.[0] ?? ''}`;
}

/** @param last the newest bundle before: where the new one was not even begun, resuming writes that one again */
async function goOn(
  station: Place,
  stick: FatStick,
  { last, isAstray }: { last: number; isAstray: boolean },
): Promise<{ sequence: number; how: string }> {
  const sequence = isAstray ? last : (await station.resume(stick.dir)).sequence;
  if (sequence > last) return { sequence, how: 'resumed' };
  const anew = await station.export(stick.dir, { medium: parseMedium('2MiB') });
  return { sequence: anew.sequence, how: 'begun anew' };
}

/** @returns what came of it: the newest finished bundle, or words */
async function tryImport(site: Place, stick: FatStick): Promise<string> {
  try {
    return (await site.import(stick.dir)).outcome;
  } catch (error) {
    if (isAirlockError(error, 'bundle.incomplete', 'bundle.not-found')) return error.code;
    throw error;
  }
}

/** Everything that is published is stored. */
async function assertWell(place: Place): Promise<void> {
  const lost: unknown[] = [];
  for await (const entry of place.app.catalog.lostEntries()) lost.push(entry);
  assert.deepEqual(lost, []);
}

function makeFatStick(t: TestContext): FatStick {
  const place = mkdtempSync(path.join(os.tmpdir(), 'airlock-rounds-'));
  const stick = new FatStick(place);
  t.after(async () => {
    await stick.remove();
    rmSync(place, { recursive: true, force: true });
  });
  return stick;
}

test(`${ROUNDS} rounds of faults on a FAT stick lose nothing`, needsStick('fat32'), async (t) => {
  t.diagnostic(`AIRLOCK_SEED=${SEED}`);
  const random = randomFrom(SEED);
  const { station, site } = await scene(t);
  const stick = makeFatStick(t);
  await stick.plugIn();
  const fresh = async () => {
    await station.put('tools', 'large.bin', randomBytes(9 * MIB));
    await station.put('tools', 'small.bin', randomBytes(1 * MIB));
  };
  const owners = () => {
    const dir = path.join(site.dir, 'partial');
    return existsSync(dir) ? readdirSync(dir) : [];
  };
  const exporting: Side = {
    args: ['--data', station.dir, 'export', '--site', 'north', '--to', stick.dir, '--medium', '2MiB'],
    hasBegun: () => readdirSync(stick.dir).length > 0,
  };
  const importing = (): Side => {
    const before = new Set(owners());
    return {
      args: ['--data', site.dir, 'import', 'bundle', stick.dir],
      hasBegun: () => owners().some((name) => !before.has(name)),
    };
  };
  await fresh();
  const pace = { out: await undisturbed(exporting), in: await undisturbed(importing()) };
  assert.deepEqual(await site.published(), await station.published());
  let last = (await site.trust.mark())?.sequence ?? 0;
  for (let round = 1; round <= ROUNDS; round += 1) {
    const said = [`round ${round}:`];
    stick.empty();
    const before = await site.published();
    await fresh();
    const after = await station.published();
    const first = random() < 0.5 ? 'killed' : 'unmounted';
    const second = (['killed', 'unmounted', 'cut'] as const)[Math.floor(random() * 3)] ?? 'killed';

    const out = await disturbed(exporting, pace.out, first, stick, random);
    const sent = assertOrderly(out, first);
    // What was finished in time is left for the import that is disturbed.
    const early = sent === 'exit 0' ? 'not tried' : await tryImport(site, stick);
    assert.deepEqual(await site.published(), early === 'imported' ? after : before);
    const { sequence, how } = await goOn(station, stick, { last, isAstray: out.isAstray });
    last = sequence;
    said.push(`export ${first} (${sent}), import then ${early}, ${how};`);

    const taken = assertOrderly(await disturbed(importing(), pace.in, second, stick, random), second);
    const seen = await site.published();
    assert.deepEqual(seen, isSame(seen, after) ? after : before, 'half of a bundle is visible');
    const end = await site.import(stick.dir);
    assert.deepEqual(await site.published(), after);
    await assertWell(site);
    said.push(`import ${second} (${taken}), then ${end.outcome}, ${end.blobs.read} files read`);
    t.diagnostic(said.join(' '));
  }
  const { code, stderr } = await ended(startCli(['--data', site.dir, 'verify']));
  assert.equal(code, 0, stderr);
});

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
