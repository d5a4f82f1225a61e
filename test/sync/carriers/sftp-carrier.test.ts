import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { after, before } from 'node:test';
import { parseSftpUrl } from '../../../src/sync/carriers/sftp-address.ts';
import { openSftpCarrier } from '../../../src/sync/carriers/sftp-carrier.ts';
import { carrierConformance } from '../../conformance/carrier.ts';
import { needsSshServer, type SshServer, startSshServer } from '../../support/ssh-server.ts';
import { lookInto } from './places.ts';

const SETTLE_EVERY = 64 * 1024;
const needed = needsSshServer();

/** What a server can do that knows SFTP version 3 and nothing more. */
const PLAIN = ['-P', 'posix-rename,fsync,statvfs,fstatvfs,hardlink,lsetstat,limits,expand-path,copy-data'];

for (const [name, sftp] of [
  ['OpenSSH', []],
  ['a server without extensions', PLAIN],
] as const) {
  let server: SshServer;
  if (needed.skip === undefined) {
    before(async () => {
      server = await startSshServer({ sftp });
    });
    after(() => server.stop());
  }
  carrierConformance(
    `SFTP, ${name}`,
    async () => {
      const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-carrier-'));
      const { identity } = server;
      const open = () =>
        openSftpCarrier(parseSftpUrl(server.url(dir)), {
          identity,
          knownHosts: server.knownHosts(),
          settleEvery: SETTLE_EVERY,
        });
      return {
        ...lookInto(dir),
        carrier: await open(),
        settleEvery: SETTLE_EVERY,
        another: open,
        remove: () => rm(dir, { recursive: true, force: true }),
      };
    },
    needed,
  );
}
