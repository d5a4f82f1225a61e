/**
 * Installs what package-lock.json names and node_modules lacks. Run by the other launchers, by one of them at a time:
 * who waited finds everything in its place.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { heapFlags, isInstalled, pinned, root } from './launch.mjs';

const development = process.argv.includes('--development');
if (!isInstalled(development)) {
  runNpm();
  if (isInstalled(development)) await warmUp();
}

function runNpm() {
  process.stderr.write('Installing dependencies (once) …\n');
  // Not `npm ci`: it refuses a lock file that lacks packages for other platforms than this one. Versions and digests
  // are those of the lock file all the same, and --no-save leaves it as it is.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error', '--ignore-scripts'];
  args.push('--include=optional', development ? '--include=dev' : '--omit=dev');
  const npm = process.env.npm_execpath;
  const options = { cwd: root, stdio: ['ignore', 2, 2] };
  const { status } = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync('npm', args, options);
  if (status === 0) return;
  process.stderr.write(
    'npm install failed, so nothing was started. Check the network, or the registry and proxy settings of npm, and try again.\n',
  );
  process.exit(1);
}

/**
 * Starts a server once, and stops it: Node.js keeps the code that it compiled, so that from the first real start on a
 * server is there in half the time, and 15 MiB smaller. If it does not work, the real start will say why.
 */
async function warmUp() {
  const data = mkdtempSync(path.join(os.tmpdir(), 'airlock-warm-up-'));
  const { node, env } = pinned();
  const program = path.join(root, 'src', 'cli.ts');
  const words = ['--data', data, 'serve', '--listen', '127.0.0.1:0'];
  const args = [...heapFlags(words), program, ...words];
  const server = spawn(node, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  const patience = setTimeout(() => server.kill('SIGKILL'), 20_000);
  server.stdout.once('data', () => server.kill('SIGTERM'));
  await new Promise((resolve) => server.on('error', resolve).on('exit', resolve));
  clearTimeout(patience);
  rmSync(data, { recursive: true, force: true });
}
