import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

const CHILD = path.join(import.meta.dirname, 'catalog-child.ts');

/** A process of catalog-child.ts. */
export interface Child {
  readonly process: ChildProcessWithoutNullStreams;
  /** The next line that it prints. Fails if it ends before. */
  line(): Promise<string>;
  /** All lines that it prints from now on, how it ended, and what it had to say about that. */
  end(): Promise<{ lines: string[]; code: number | null; signal: NodeJS.Signals | null; stderr: string }>;
}

/** Starts a command of catalog-child.ts; killed after the test at the latest. @param wrapper such as `strace` */
export function startChild(t: TestContext, args: readonly string[], wrapper: readonly string[] = []): Child {
  const [command = '', ...rest] = [...wrapper, process.execPath, CHILD, ...args];
  const child = spawn(command, rest, {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, UV_THREADPOOL_SIZE: '1' },
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    async line() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`the child ended: ${stderr}`);
      return value;
    },
    async end() {
      const all: string[] = [];
      for (let next = await lines.next(); next.done !== true; next = await lines.next()) all.push(next.value);
      const [code, signal] = await closed;
      return { lines: all, code, signal, stderr };
    },
  };
}
