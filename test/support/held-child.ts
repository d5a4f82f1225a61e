/**
 * Loaded before a program (`node --import`): loads the modules of its command and starts libuv's thread pool, then stops
 * the process, so that a test can put strace on its threads before the program does anything. strace stops a thread at
 * each of its calls; loading modules is thousands of them, which no test asks about.
 */
import { stat } from 'node:fs/promises';
import { buildProgram } from '../../src/commands/program.ts';

await buildProgram(process.argv.slice(2));
await stat('/');
process.kill(process.pid, 'SIGSTOP');
