import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { AirlockError } from '../../../src/errors.ts';
import { limits } from '../../../src/limits.ts';
import { SpaceReserve } from '../../../src/repo/blobs/space-reserve.ts';
import { tempDir } from '../../support/temp-dir.ts';

const full = () => new AirlockError('space.insufficient', 'test');

test('the space is given up once, for what has none, and taken back', async (t) => {
  const dir = await tempDir(t);
  const file = path.join(dir, 'reserve');
  const reserve = new SpaceReserve(dir);
  reserve.restore();
  assert.equal(existsSync(file), false, 'what was not given up is not taken back');
  reserve.keep();
  assert.equal(statSync(file).size, limits.spaceForEmergency);
  let attempts = 0;
  const work = async () => {
    attempts += 1;
    if (existsSync(file)) throw full();
    return 'done';
  };
  assert.equal(await reserve.lend(work), 'done');
  assert.equal(attempts, 2);
  reserve.restore();
  assert.equal(statSync(file).size, limits.spaceForEmergency);
  await assert.rejects(
    reserve.lend(() => Promise.reject(full())),
    { code: 'space.insufficient' },
  );
  await assert.rejects(
    reserve.lend(() => Promise.reject(full())),
    { code: 'space.insufficient' },
    'there is nothing left to give',
  );
  reserve.spendIfFull();
});

test('other failures cost no space, and a part of the file is made whole', async (t) => {
  const dir = await tempDir(t);
  const file = path.join(dir, 'reserve');
  writeFileSync(file, 'a part');
  const reserve = new SpaceReserve(dir);
  reserve.keep();
  assert.equal(statSync(file).size, limits.spaceForEmergency);
  await assert.rejects(
    reserve.lend(() => Promise.reject(new Error('other'))),
    /other/,
  );
  assert.equal(statSync(file).size, limits.spaceForEmergency);
});
