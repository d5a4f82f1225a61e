/** `npm run drill`: the whole way of a release, on networks of its own. `npm run drill -- --short` takes a minute. */
import path from 'node:path';
import { install, root, run } from './launch.mjs';

install({ development: true });
run([path.join(root, 'test', 'drill', 'run.ts'), ...process.argv.slice(2)]);
