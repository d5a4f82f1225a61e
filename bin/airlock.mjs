#!/usr/bin/env node
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { install, root, run } from './launch.mjs';

install({ development: false });
const args = process.argv.slice(2);
// Garbage is short-lived: with a small nursery a server takes 10 MiB less, an import of many packages 100.
const nursery = args.includes('serve') ? 4 : 8;
run([`--max-semi-space-size=${nursery}`, path.join(root, 'src', 'cli.ts'), ...args], usersFolder());

/** npm runs scripts in the clone; the paths on the command line are those of the folder where the user typed them. */
function usersFolder() {
  const { INIT_CWD, npm_package_json: ours } = process.env;
  const isOurScript = ours !== undefined && existsSync(ours) && realpathSync(ours) === path.join(root, 'package.json');
  return isOurScript && process.cwd() === root ? INIT_CWD : undefined;
}
