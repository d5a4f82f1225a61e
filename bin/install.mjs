/**
 * Installs what package-lock.json names and node_modules lacks. Run by the other launchers, by one of them at a time:
 * who waited finds everything in its place.
 */
import { spawnSync } from 'node:child_process';
import { isInstalled, root } from './launch.mjs';

const development = process.argv.includes('--development');
if (!isInstalled(development)) runNpm();

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
