/**
 * What tests do to a catalog from processes of their own: `catalog-child.ts COMMAND DIR [ARGUMENT...]`.
 * The catalog is `DIR/catalog.sqlite`, its log `DIR/revisions`. Each line printed is an acknowledgement.
 */
import { writeSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Catalog } from '../../../src/repo/catalog/catalog.ts';
import { DiskRevisionLog, type RevisionFile, type RevisionHeader } from '../../../src/repo/catalog/revision-log.ts';
import { openSqliteCatalog } from '../../../src/repo/catalog/sqlite.ts';
import { publishIn } from '../../conformance/catalog/under-test.ts';
import { testArtifact, testStat } from '../../support/artifacts.ts';

const [command = '', dir = '', ...rest] = process.argv.slice(2);
const logDir = path.join(dir, 'revisions');

const commands: Record<string, () => Promise<void>> = {
  /** Publishes COUNT times in `a`, each time a path of its own and one that all share. */
  async write() {
    const [label = '', count = '1'] = rest;
    const catalog = await open();
    for (let i = 0; i < Number(count); i++) {
      const put = [`${label}/${i}`, 'shared'].map((each) => ({
        path: each,
        artifact: testArtifact(i + 1, { name: label }),
        replace: true,
      }));
      say(`${await catalog.transaction((tx) => publishIn(tx, 'a', { put, reason: label }))}`);
    }
    await catalog.close();
  },

  /** Prints, for each line that comes in, whether the version changed, and the published revision of `a`. */
  async read() {
    const catalog = await open();
    let version = catalog.version();
    say('ready');
    for await (const _ of createInterface({ input: process.stdin })) {
      const next = catalog.version();
      const published = (await catalog.repository('a'))?.published ?? 0;
      say(`${next === version ? 'same' : 'changed'} ${published}`);
      version = next;
    }
    await catalog.close();
  },

  /** Takes the write lock, until a line comes in. */
  async hold() {
    const catalog = await open();
    await catalog.transaction(async (tx) => {
      await tx.ensureRepository('held', 'file');
      say('held');
      for await (const _ of createInterface({ input: process.stdin })) break;
    });
    await catalog.close();
    process.exit();
  },

  /** Publishes in `a` and in a new repository, and waits to be killed with all files closed, before COMMIT. */
  async beforeCommit() {
    const catalog = await open();
    await catalog.transaction(async (tx) => {
      await publishIn(tx, 'a', { put: [{ path: 'killed', artifact: testArtifact(9) }] });
      await publishIn(tx, 'a', { put: [{ path: 'killed too', artifact: testArtifact(9) }] });
      await publishIn(tx, 'new', {});
      say('closed');
      await forever();
    });
  },

  /** Waits to be killed in the middle of writing a long revision. */
  async inTheMiddle() {
    const catalog = await open();
    const endless = function* () {
      for (let n = 0; n < 1000; n++) yield { path: `${n}`, artifact: testArtifact(1) };
      say('written');
      block();
    };
    await catalog.transaction(async (tx) => {
      await tx.recordBlob(testStat(1));
      await tx.publish('a', { reason: 'test', put: endless() });
    });
  },

  /** Publishes in `a`, and waits to be killed after COMMIT, before the file becomes part of the log. */
  async afterCommit() {
    const catalog = await open(new BlockingLog(logDir));
    await catalog.transaction((tx) => publishIn(tx, 'a', { put: [{ path: 'committed', artifact: testArtifact(9) }] }));
  },
};

class BlockingLog extends DiskRevisionLog {
  override begin(header: RevisionHeader): RevisionFile {
    const file = super.begin(header);
    return {
      add: (line) => file.add(line),
      close: () => file.close(),
      cancel: () => file.cancel(),
      keep() {
        say('committed');
        block();
      },
    };
  }
}

function open(log = new DiskRevisionLog(logDir)): Promise<Catalog> {
  return openSqliteCatalog(path.join(dir, 'catalog.sqlite'), log);
}

/** At once, whatever becomes of this process in the next moment. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}

function forever(): Promise<never> {
  return new Promise(() => setInterval(() => undefined, 1000));
}

function block(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

await commands[command]?.();
