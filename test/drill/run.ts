/**
 * `npm run drill`: everything together, on real parts, as its users would meet it. `--short` is the form that the tests
 * run. Exit code 0: all was as it should be; 1: something was not, and it says what; 2: it could not begin.
 */
import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { PACKAGE_TOOLS } from '../media/package-iso.ts';
import { needs } from '../support/needs.ts';
import { FULL, SHORT } from './form.ts';
import { story } from './story.ts';
import { StepFailed, Telling } from './telling.ts';
import { Undoing } from './undoing.ts';
import { makeWorld, type World } from './world.ts';

const { values } = parseArgs({ options: { short: { type: 'boolean', default: false } } });
const form = values.short ? SHORT : FULL;
const { skip } = needs(...PACKAGE_TOOLS, 'nginx', 'openssl', 'curl');
if (skip !== undefined) {
  process.stderr.write(`The drill cannot begin; ${skip}\n`);
  process.exit(2);
}

const print = (line: string) => void process.stdout.write(`${line}\n`);
const interruption = new AbortController();
const undoing = new Undoing();
let world: World | undefined;

process.exitCode = await Promise.race([drill(), interrupted()]);
interruption.abort();
for (const failure of await undoing.run()) {
  print(`! not undone: ${String(failure)}`);
  process.exitCode ||= 1;
}
process.exit();

async function drill(): Promise<number> {
  const telling = new Telling(print);
  try {
    print(`The drill, in its ${form.name} form: ${form.clients} machines behind a router.\n`);
    world = await telling.tell('preparations', prepare);
    await story(world, telling);
    telling.sumUp();
    print('\nAll was as it should be.');
    return 0;
  } catch (error) {
    if (interruption.signal.aborted) return 1;
    await explain(error);
    return 1;
  }
}

async function prepare() {
  const value = await makeWorld(undoing, form, interruption.signal);
  const { older, newer, image } = value.vendor.releases;
  const bytes = [older, newer, image].reduce((sum, release) => sum + release.bytes.length, 0);
  return { value, said: 'the vendor built and signed three releases', checked: [], bytes };
}

async function explain(error: unknown): Promise<void> {
  print(`\n✖ ${error instanceof StepFailed ? error.message : String(error)}`);
  const stack = error instanceof StepFailed && error.cause instanceof Error ? error.cause.stack : undefined;
  print((stack ?? '').match(/^ {4}at .*test\/drill.*$/gm)?.join('\n') ?? '');
  for (const machine of world === undefined ? [] : [world.staging, world.a, world.b, world.router]) {
    const lines = await machine.lastLines(8);
    if (lines.length > 0) print(`\nThe last lines of the log of ${machine.name}:\n${lines.join('\n')}`);
  }
}

/** The exit code, once somebody wants it to end. */
function interrupted(): Promise<number> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (interruption.signal.aborted) return;
        interruption.abort();
        print('\nInterrupted: everything is undone.');
        resolve(128 + constants.signals[signal]);
      });
    }
    process.stdout.on('error', () => resolve(1)); // whoever reads it is gone
  });
}
