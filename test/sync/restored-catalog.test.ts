/** A catalog that was restored from a backup, as a site meets it: by `serve`, `import bundle` and `receipt write`. */
import assert from 'node:assert/strict';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { airlock, startServer } from '../support/cli.ts';
import { tempDir } from '../support/temp-dir.ts';

interface Site {
  readonly data: string;
  readonly root: string;
  readonly run: (...args: string[]) => Promise<void>;
  /** Runs a command that must fail with exit code 4. @returns what it says */
  readonly refuses: (...args: string[]) => Promise<string>;
  /** Publishes another content of `tools/a.txt` at the station, and exports it. @returns the folder */
  readonly bundle: (content: string) => Promise<string>;
  readonly served: () => Promise<string>;
}

async function site(t: TestContext): Promise<Site> {
  const dir = await tempDir(t);
  const [station, data, root] = [path.join(dir, 'station'), path.join(dir, 'site'), path.join(dir, 'root.json')];
  const done = async (...args: string[]) => {
    const { code, stderr } = await airlock(args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  };
  const run = (...args: string[]) => done('--data', data, ...args);
  await done('--data', station, 'keys', 'init');
  await done('--data', station, 'keys', 'export-root', root);
  await run('trust', 'add', root, '--site', 'north');
  let count = 0;
  return {
    data,
    root,
    run,
    async refuses(...args) {
      const { code, stderr } = await airlock(['--data', data, ...args]);
      assert.equal(code, 4, `${args.join(' ')}: ${stderr}`);
      return stderr;
    },
    async bundle(content) {
      count += 1;
      const to = path.join(dir, `stick ${count}`);
      await mkdir(to);
      const file = path.join(dir, 'a.txt');
      await writeFile(file, content);
      await done('--data', station, 'import', 'file', '--repository', 'tools', '--path', `${count}.txt`, file);
      await done('--data', station, 'export', '--site', 'north', '--to', to);
      return to;
    },
    async served() {
      const server = await startServer(t, data);
      const found: string[] = [];
      for (let each = 1; each <= count; each += 1) {
        const answer = await fetch(`${server.url}/repos/tools/${each}.txt`);
        const text = await answer.text();
        if (answer.ok) found.push(text);
      }
      assert.equal((await server.stop()).code, 0);
      return found.join(' ');
    },
  };
}

/** What an administrator saves: the catalog with the revisions it is made of. */
async function backUp(data: string, to: string): Promise<void> {
  for (const name of ['catalog.sqlite', 'revisions']) {
    await cp(path.join(data, name), path.join(to, name), { recursive: true });
  }
}

async function restore(from: string, data: string): Promise<void> {
  for (const name of ['catalog.sqlite', 'catalog.sqlite-wal', 'catalog.sqlite-shm', 'revisions']) {
    await rm(path.join(data, name), { recursive: true, force: true });
  }
  await backUp(from, data);
}

test('it is not served, nothing is imported into it and no receipt is written, until somebody says so', async (t) => {
  const north = await site(t);
  const { data } = north;
  const [first, backup] = [await north.bundle('one'), `${data}-backup`];
  await north.run('import', 'bundle', first);
  await backUp(data, backup);
  const second = await north.bundle('two');
  await north.run('import', 'bundle', second);
  assert.equal(await north.served(), 'one two');
  await restore(backup, data);
  for (const args of [
    ['serve', '--listen', '127.0.0.1:0'],
    ['import', 'bundle', first],
    ['import', 'bundle', second],
    ['receipt', 'write', '--to', path.dirname(data)],
  ]) {
    assert.match(
      await north.refuses(...args),
      /error \(trust\.locked\): Bundle 2 has landed here, .*only of 1.*--restored/,
    );
  }
  // Local imports make new revisions: that does not make it any newer.
  await north.run('import', 'file', '--repository', 'tools', '--path', 'local.txt', north.root);
  assert.match(await north.refuses('serve', '--listen', '127.0.0.1:0'), /trust\.locked/);

  await north.run('trust', 'add', north.root, '--restored');
  assert.equal(await north.served(), 'one');
  await north.refuses('import', 'bundle', first);
  await north.run('import', 'bundle', second);
  assert.equal(await north.served(), 'one two');
});

test('a router that got bundles is not started either', async (t) => {
  const north = await site(t);
  const backup = `${north.data}-backup`;
  await north.run('import', 'file', '--repository', 'tools', '--path', 'local.txt', north.root);
  await backUp(north.data, backup);
  await north.run('import', 'bundle', await north.bundle('one'));
  await restore(backup, north.data);
  const said = await north.refuses('proxy', '--upstream', 'http://127.0.0.1:9', '--listen', '127.0.0.1:0');
  assert.match(said, /trust\.locked.*knows of none/);
});

test('serve heals the mark of a landing whose process died', async (t) => {
  const north = await site(t);
  const mark = path.join(north.data, 'keys/trusted/landed.json');
  await north.run('import', 'bundle', await north.bundle('one'));
  const former = await readFile(mark);
  await north.run('import', 'bundle', await north.bundle('two'));
  const newest = await readFile(mark, 'utf8');
  await rm(mark);
  assert.equal(await north.served(), 'one two');
  assert.deepEqual(JSON.parse(await readFile(mark, 'utf8')), JSON.parse(newest));
  await writeFile(mark, former);
  assert.equal(await north.served(), 'one two');
  assert.deepEqual(JSON.parse(await readFile(mark, 'utf8')), JSON.parse(newest));
});

test('a catalog that was made anew from its revisions is served', async (t) => {
  const north = await site(t);
  await north.run('import', 'bundle', await north.bundle('one'));
  await north.run('import', 'bundle', await north.bundle('two'));
  await north.run('doctor', '--rebuild-catalog');
  assert.equal(await north.served(), 'one two');
});
