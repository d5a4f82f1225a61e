/**
 * The order of writing (invariant 1), read off the system calls: a power cut may not show a missing fsync, because the
 * one that follows for SQLite's write-ahead log forces the journal of the file system.
 */
import assert from 'node:assert/strict';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { deleteVersion, findDeletion } from '../../src/repo/upkeep/delete-version.ts';
import { withDirectory } from '../repo/blobs/support.ts';
import { type Call, needsTracing, parseTrace, readTrace, runTraced } from '../support/strace.ts';
import { withApp } from '../support/with-app.ts';
import { importAgain } from './aftermath.ts';
import { makeStick, type Stick, trustingDirectory } from './stick.ts';

const CALLS = 'fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,write,writev,pwrite64,pwritev';
const VERSION = '6.3.0-107.r1.el7';

/** What a command did, with ways to find a call in it. */
class Trace {
  readonly calls: readonly Call[];
  readonly data: string;

  constructor(calls: readonly Call[], data: string) {
    this.calls = calls;
    this.data = data;
  }

  /** Calls of these names on a file of the data directory: on its descriptor, or as the last path named. */
  on(names: string, file: string): Call[] {
    const full = path.join(this.data, file);
    return this.calls.filter((call) => names.split(' ').includes(call.name) && call.paths.at(-1) === full);
  }

  written(file: string): Call[] {
    return this.on('write writev pwrite64 pwritev', file);
  }

  synced(file: string): Call[] {
    return this.on('fsync', file);
  }

  /** The call that gave a file its name. */
  renamedTo(file: string): Call {
    return only(this.on('rename renameat renameat2', file), `rename to ${file}`);
  }

  /** Names that calls of a kind gave or took under a folder, relative to the data directory. */
  under(names: string, folder: string): string[] {
    return this.calls
      .filter((call) => names.split(' ').includes(call.name))
      .map((call) => path.relative(this.data, call.paths.at(-1) ?? ''))
      .filter((file) => file.startsWith(folder));
  }
}

function only<T>(all: readonly T[], what: string): T {
  const [one, ...others] = all;
  assert.ok(one !== undefined && others.length === 0, `${all.length} times ${what}, not once`);
  return one;
}

/** Asserts that each of the calls had ended, well, before the next one began. */
function assertInTurn(...steps: readonly [what: string, call: Call | undefined][]): void {
  let earlier: { what: string; call: Call } | undefined;
  for (const [what, call] of steps) {
    assert.ok(call !== undefined, `never: ${what}${earlier === undefined ? '' : `, after ${earlier.what}`}`);
    if (earlier !== undefined)
      assert.ok(
        earlier.call.ended < call.began,
        `${what} (${call.began}) began before ${earlier.what} was done (${earlier.call.ended})`,
      );
    assert.match(call.result, /^\d/, `${what}: ${call.result}`);
    earlier = { what, call };
  }
}

/** The first of `calls` that began after `call` was done. */
function next(calls: readonly Call[], call: Call): Call | undefined {
  return calls.find(({ began }) => began > call.ended);
}

function lastBefore(calls: readonly Call[], call: Call): Call | undefined {
  return calls.findLast(({ began }) => began < call.began);
}

const WAL = 'catalog.sqlite-wal';

async function traced(dir: string, data: string, ...command: string[]): Promise<Trace> {
  const log = path.join(dir, 'trace');
  const options = ['-y', '-s', '4096', '-e', `trace=${CALLS}`];
  const { code, stderr } = await runTraced(['--data', data, ...command], log, options);
  assert.equal(code, 0, stderr);
  return new Trace(await readTrace(log), data);
}

describe('an import', needsTracing(), () => {
  let trace: Trace;
  let stick: Stick;
  let blobs: string[];
  /** The fsync that makes its transaction durable. */
  let commit: Call;
  const pending = 'revisions/.pending/00000001-images.jsonl';
  const revision = 'revisions/images/00000001.jsonl';

  before(() =>
    withDirectory(async (dir) => {
      stick = await makeStick(path.join(dir, 'stick'), 2500);
      const data = path.join(dir, 'data');
      await trustingDirectory(data, stick);
      trace = await traced(dir, data, 'import', 'iso', 'filepath', stick.file);
      blobs = trace.under('rename renameat renameat2', 'blobs/');
      const published = trace.renamedTo(revision);
      const last = lastBefore(trace.synced(WAL), published);
      assert.ok(last !== undefined, 'nothing was committed before the revision got its name');
      commit = last;
    }),
  );

  test('stores the image and both sidecars', () => {
    const named = Object.values(stick.paths).map((digest) => digest.replace(/^sha256:(..)/, 'blobs/sha256/$1/$1'));
    assert.deepEqual([...blobs].sort(), named.sort());
  });

  test('makes the bytes of a blob durable, then its name, then its folder, and all before the catalog speaks of it', () => {
    const spoken = lastBefore(trace.written(WAL), commit);
    for (const blob of blobs) {
      const rename = trace.renamedTo(blob);
      const part = path.relative(trace.data, rename.paths[0] ?? '');
      assert.match(part, /^partial\/[0-9a-f]{16}\/[0-9a-f]{32}\.part$/);
      const folder = path.dirname(blob);
      assertInTurn(
        [`the last write to ${part}`, trace.written(part).at(-1)],
        [`fsync of ${part}`, trace.synced(part).at(-1)],
        [`rename to ${blob}`, rename],
        [`fsync of ${folder}`, next(trace.synced(folder), rename)],
        ['the last write of the transaction', spoken],
        ['fsync of the transaction', commit],
      );
    }
  });

  test('makes every folder that it made durable before anything speaks of what is in it', () => {
    const made = trace.calls.filter(({ name, paths }) => name === 'mkdir' && paths[0]?.startsWith(`${trace.data}/`));
    const folders = made.map(({ paths }) => path.relative(trace.data, paths[0] ?? ''));
    for (const expected of ['blobs', 'blobs/sha256', 'revisions', 'revisions/.pending', 'revisions/images'])
      assert.ok(folders.includes(expected), `${expected} is not among ${folders.join(', ')}`);
    for (const [index, folder] of folders.entries()) {
      const mkdir = made[index];
      assert.ok(mkdir !== undefined);
      const use = folder === 'revisions/images' ? trace.renamedTo(revision) : commit;
      const parent = path.dirname(folder);
      assertInTurn(
        [`mkdir ${folder}`, mkdir],
        [`fsync of ${parent}`, next(trace.synced(parent), mkdir)],
        ['its use', use],
      );
    }
  });

  test('makes the revision file durable, then the transaction, and only then gives it its name', () => {
    const write = trace.written(pending).at(-1);
    assert.ok(write !== undefined);
    const folder = next(trace.synced('revisions/.pending'), write);
    const rename = trace.renamedTo(revision);
    assertInTurn(
      ['the last line of the revision', write],
      ['fsync of the revision', only(trace.synced(pending), 'fsync of the revision')],
      ['fsync of its folder', folder],
      ['the last write of the transaction', lastBefore(trace.written(WAL), commit)],
      ['fsync of the transaction', commit],
      ['rename to its name', rename],
      ['fsync of the folder of its name', next(trace.synced('revisions/images'), rename)],
    );
  });

  test('writes nothing to the write-ahead log that is not made durable', () => {
    const last = trace.written(WAL).at(-1);
    assert.ok(last !== undefined);
    assertInTurn(['the last write', last], ['fsync', next(trace.synced(WAL), last)]);
  });

  test('says nothing before all is done', () => {
    const said = only(
      trace.calls.filter(({ name, args }) => name === 'write' && args.includes('Import success')),
      '"Import success"',
    );
    const earlier = trace.calls.filter((call) => call.paths.some((each) => each.startsWith(trace.data)));
    for (const call of earlier)
      assert.ok(
        call.ended < said.began,
        `${call.name} ${call.paths.join()} ended at ${call.ended}, it was said at ${said.began}`,
      );
    assert.ok(earlier.length > 50, `${earlier.length} calls`);
  });
});

test('prune lets go in the catalog, then of the file, and then makes that durable', needsTracing(), () =>
  withDirectory(async (dir) => {
    const stick = await makeStick(path.join(dir, 'stick'));
    const data = path.join(dir, 'data');
    await trustingDirectory(data, stick);
    await importAgain(data, stick.file);
    await withApp(data, async (app) => deleteVersion(await app.ingest(), await findDeletion(app.catalog, VERSION)));
    const trace = await traced(dir, data, 'prune', '--grace', '0');
    const gone = trace.under('unlink unlinkat', 'blobs/');
    assert.equal(gone.length, 3);
    for (const blob of gone) {
      const unlink = only(trace.on('unlink unlinkat', blob), `unlink of ${blob}`);
      const folder = path.dirname(blob);
      const synced = next(trace.synced(folder), unlink);
      assertInTurn(
        ['the last write of the transaction', lastBefore(trace.written(WAL), unlink)],
        ['fsync of the transaction that lets go', lastBefore(trace.synced(WAL), unlink)],
        [`unlink of ${blob}`, unlink],
        [`fsync of ${folder}`, synced],
        ['fsync of the transaction that forgets it', synced && next(trace.synced(WAL), synced)],
      );
    }
  }),
);

test('what strace writes is read as it was meant', () => {
  const calls = parseTrace(
    [
      'strace: Process 12 attached',
      '11    fsync(27</data/blobs> <unfinished ...>',
      '12    rename("/data/a <b>", "/data/c) = 0") = 0',
      '11    <... fsync resumed>)              = -1 EIO (Input/output error) (INJECTED)',
      '12    write(1<pipe:[77]>, "done) = 1\\n", 10) = 10',
      '11    --- SIGCONT {si_signo=SIGCONT} ---',
      '12    pwrite64(5</data/x>(deleted), "\\0"..., 4096, 0) = ?',
      '12    +++ killed by SIGKILL +++',
    ].join('\n'),
  );
  assert.deepEqual(
    calls.map(({ thread, name, paths, result, began, ended }) => [thread, name, paths, result, began, ended]),
    [
      [11, 'fsync', ['/data/blobs'], '-1 EIO (Input/output error) (INJECTED)', 1, 3],
      [12, 'rename', ['/data/a <b>', '/data/c) = 0'], '0', 2, 2],
      [12, 'write', [], '10', 4, 4],
      [12, 'pwrite64', ['/data/x'], '?', 6, Number.POSITIVE_INFINITY],
    ],
  );
  assert.deepEqual(
    parseTrace('fsync(29</data>)  = 0\nfsync(30</data>) = ?\n+++ killed by SIGKILL +++').map(({ thread, result }) => [
      thread,
      result,
    ]),
    [
      [0, '0'],
      [0, '?'],
    ],
  );
});
