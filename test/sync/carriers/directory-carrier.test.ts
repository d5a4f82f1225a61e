import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { openDirectoryCarrier } from '../../../src/sync/carriers/directory-carrier.ts';
import { carrierConformance } from '../../conformance/carrier.ts';
import { lookInto } from './places.ts';

const SETTLE_EVERY = 64 * 1024;

carrierConformance('directory', async () => {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'airlock-carrier-'));
  const open = () => openDirectoryCarrier(dir, { settleEvery: SETTLE_EVERY });
  return {
    ...lookInto(dir),
    carrier: await open(),
    settleEvery: SETTLE_EVERY,
    another: open,
    remove: () => rm(dir, { recursive: true, force: true }),
  };
});
