/**
 * Loaded before a program (`node --import`): starts libuv's thread pool and stops the process, so that a test can put
 * strace on its threads before the program does anything.
 */
import { stat } from 'node:fs/promises';

await stat('/');
process.kill(process.pid, 'SIGSTOP');
