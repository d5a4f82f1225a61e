/** `node lock-child.ts FILE`: takes the lock, says `held` or `busy`, keeps it until its standard input ends. */

import { once } from 'node:events';
import { ProcessLock } from '../../../src/repo/blobs/process-lock.ts';

const lock = ProcessLock.tryAcquire(process.argv[2] ?? '');
console.log(lock === undefined ? 'busy' : 'held');
process.stdin.resume();
await once(process.stdin, 'end');
lock?.release();
