/**
 * `npm test`: types, linter and rules between the rooms, then every test. `npm test -- test/repo/iso9660/*.test.ts`
 * runs some files only.
 */
import path from 'node:path';
import { install, root, run } from './launch.mjs';

install({ development: true });
run([path.join(root, 'test', 'run.ts'), ...process.argv.slice(2)]);
