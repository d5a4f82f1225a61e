/** An export that was broken off, over real SFTP: what came to stay is not sent again, and nothing wrong is gone on with. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, rename, truncate } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAirlockError } from '../../src/errors.ts';
import type { Carrier } from '../../src/sync/carriers/carrier.ts';
import { parseSftpUrl } from '../../src/sync/carriers/sftp-address.ts';
import { openSftpCarrier } from '../../src/sync/carriers/sftp-carrier.ts';
import { airlock, ended, startCli } from '../support/cli.ts';
import { needsSshServer, type SshServer, startSshServer } from '../support/ssh-server.ts';
import { type Relay, type RelayOptions, startRelay } from '../support/tcp-relay.ts';
import { bundleIn, flip, type Scene, scene } from './scene.ts';

const MIB = 2 ** 20;
const SETTLE_EVERY = MIB / 4;
const VOLUME = 'volume-0001.tar';
/** More than what of an earlier attempt is compared before it is gone on with. */
const SIZE = 10 * MIB;

describe('an export over SFTP that was broken off', needsSshServer(), () => {
  let server: SshServer;
  before(async () => {
    server = await startSshServer();
  });
  after(() => server.stop());

  async function line(t: TestContext, options: RelayOptions = {}): Promise<Relay> {
    const relay = await startRelay(server.port, options);
    t.after(() => relay.stop());
    return relay;
  }

  async function carrierOver(t: TestContext, dir: string, relay: Relay): Promise<Carrier> {
    const { identity, fingerprints } = server;
    const login = { identity, hostKeys: [...fingerprints] };
    const address = parseSftpUrl(server.url(dir, relay.port));
    const carrier = await openSftpCarrier(address, { ...login, settleEvery: SETTLE_EVERY, reconnectDelay: 1 });
    t.after(() => carrier.close());
    return carrier;
  }

  async function sceneWith(t: TestContext, bytes: number): Promise<Scene> {
    const made = await scene(t);
    await made.station.put('tools', 'large.bin', randomBytes(bytes));
    return made;
  }

  async function assertArrives({ station, site, stick }: Scene): Promise<void> {
    await site.import(stick);
    assert.deepEqual(await site.published(), await station.published());
    assert.ok(!existsSync(path.join(await bundleIn(stick), `${VOLUME}.partial`)));
  }

  test('goes on by itself over a line that breaks again and again', async (t) => {
    const made = await sceneWith(t, SIZE);
    const { station, stick } = made;
    const relay = await line(t, { cutAfterSent: 3 * MIB });
    const { written } = await station.export(stick, { to: await carrierOver(t, stick, relay) });
    assert.deepEqual(written, [VOLUME]);
    assert.ok(relay.sent() > SIZE && relay.sent() < SIZE + 3 * MIB, `${relay.sent()}`);
    await assertArrives(made);
  });

  test('goes on reading back where it was', async (t) => {
    const made = await sceneWith(t, SIZE);
    const { station, stick } = made;
    const relay = await line(t, { cutAfterReceived: 6 * MIB });
    await station.export(stick, { to: await carrierOver(t, stick, relay) });
    const received = relay.passed() - relay.sent();
    assert.ok(received > SIZE && received < SIZE + 6 * MIB, `${received}`);
    assert.ok(relay.sent() < SIZE + MIB, `${relay.sent()}`);
    await assertArrives(made);
  });

  test('says how to go on if nobody answers any more, and then sends only the rest', async (t) => {
    const made = await sceneWith(t, SIZE);
    const { station, stick } = made;
    const first = await line(t, { cutAfterSent: 7 * MIB });
    const carrier = await carrierOver(t, stick, first);
    const watching = setInterval(() => {
      if (first.sent() > 5 * MIB) first.stop();
    }, 1);
    t.after(() => clearInterval(watching));
    await assert.rejects(station.export(stick, { to: carrier }), (error) => {
      assert.ok(isAirlockError(error, 'source.lost'));
      assert.equal(error.exitCode, 5);
      assert.match(error.message, /airlock export --site north --resume --to sftp:/);
      return true;
    });
    const second = await line(t);
    const { written } = await station.resume(stick, { to: await carrierOver(t, stick, second) });
    assert.deepEqual(written, [VOLUME]);
    assert.ok(second.sent() < SIZE - 4 * MIB, `${second.sent()}`);
    await assertArrives(made);
  });

  /** The volume as an earlier attempt left it; the bundle is otherwise finished. */
  async function leave(stick: string, change: (partial: string) => Promise<void>): Promise<void> {
    const partial = path.join(await bundleIn(stick), `${VOLUME}.partial`);
    await rename(partial.slice(0, -'.partial'.length), partial);
    await change(partial);
  }

  for (const [what, change, sends] of [
    ['the beginning of it', (partial: string) => truncate(partial, 9 * MIB), 'the rest'],
    ['other bytes at its end', (partial: string) => flip(partial, 9 * MIB), 'all'],
    ['other bytes at its beginning', (partial: string) => flip(partial, 1000), 'all'],
    ['more than all of it', (partial: string) => appendFile(partial, randomBytes(MIB)), 'all'],
  ] as const) {
    for (const readback of [true, false]) {
      test(`finds ${what}${readback ? '' : ', and does not read back'}: sends ${sends}`, async (t) => {
        const made = await sceneWith(t, SIZE);
        const { station, stick } = made;
        await station.export(stick);
        await leave(stick, change);
        const relay = await line(t);
        await station.resume(stick, { to: await carrierOver(t, stick, relay), readback });
        const [least, most] = sends === 'all' ? [SIZE, SIZE + 3 * MIB] : [MIB, 3 * MIB];
        assert.ok(relay.sent() > least && relay.sent() < most, `${relay.sent()}`);
        await assertArrives(made);
      });
    }
  }

  test('is gone on with by another process after the first was killed', async (t) => {
    const size = 40 * MIB; // the command makes what it sends durable every 8 MiB
    const made = await sceneWith(t, size);
    const { station, stick } = made;
    const words = (relay: Relay, ...more: string[]) => [
      ...['--data', station.dir, 'export', '--site', 'north', '--to', server.url(stick, relay.port)],
      ...['--identity', server.identity, '--host-key', ...server.fingerprints, ...more],
    ];
    const first = await line(t);
    const child = startCli(words(first));
    const result = ended(child);
    while (first.sent() < 30 * MIB && child.exitCode === null) await sleep(1);
    child.kill('SIGKILL');
    assert.equal((await result).signal, 'SIGKILL');
    const second = await line(t);
    const { code, stderr } = await airlock(words(second, '--resume'));
    assert.equal(code, 0, stderr);
    assert.ok(second.sent() < size - 15 * MIB, `${second.sent()}`);
    await assertArrives(made);
  });
});
