#!/usr/bin/env node
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { heapFlags, install, root, run } from './launch.mjs';

install({ development: false });
const args = process.argv.slice(2);
run([...heapFlags(args), path.join(root, 'src', 'cli.ts'), ...args], usersFolder());

/** npm runs scripts in the clone; the paths on the command line are those of the folder where the user typed them. */
function usersFolder() {
  const { INIT_CWD, npm_package_json: ours } = process.env;
  const isOurScript = ours !== undefined && existsSync(ours) && realpathSync(ours) === path.join(root, 'package.json');
  return isOurScript && process.cwd() === root ? INIT_CWD : undefined;
}
