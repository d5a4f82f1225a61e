/** The command line in a terminal of its own, made by script(1). */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { type CliResult, ended } from './cli.ts';

const root = path.join(import.meta.dirname, '..', '..');

export interface Terminal {
  /** Of script(1); the command is its grandchild. */
  readonly child: ChildProcess;
  /** What is typed. Ctrl-C is `\x03`, Ctrl-D `\x04`. */
  type(keys: string): void;
  /** Waits until the terminal has shown this; gives what it has shown so far. @throws if the command ends before */
  shown(text: RegExp): Promise<string>;
  /** All that was shown stands in `stdout`. */
  readonly result: Promise<CliResult>;
}

/** Runs a command of Airlock in a terminal of 160 columns. @param env variables to set */
export function inTerminal(args: readonly string[], env: Readonly<Record<string, string>> = {}): Terminal {
  const command = [process.execPath, path.join(root, 'src', 'cli.ts'), ...args].map(shellWord).join(' ');
  const child = spawn('script', ['-qefc', `stty cols 160 rows 40; exec ${command}`, '/dev/null'], {
    env: {
      ...process.env,
      AIRLOCK_DATA: undefined,
      NODE_TEST_CONTEXT: undefined,
      SHELL: '/bin/sh',
      TERM: 'xterm',
      ...env,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const result = ended(child);
  let seen = '';
  child.stdout.on('data', (text: string) => {
    seen += text;
  });
  child.stdin.on('error', () => undefined); // it may have ended meanwhile
  return {
    child,
    result,
    type: (keys) => child.stdin.write(keys),
    shown: (text) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (text.test(seen)) resolve(seen);
        };
        child.stdout.on('data', look);
        result.then(() => {
          look();
          reject(new Error(`the command ended and had not shown ${text}: ${seen}`));
        }, reject);
        look();
      }),
  };
}

function shellWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
