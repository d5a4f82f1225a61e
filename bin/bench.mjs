/** `npm run bench`: the benchmarks of docs/benchmarks.md. `npm run bench -- serve` runs one group. */
import path from 'node:path';
import { install, root, run } from './launch.mjs';

install({ development: true });
run([path.join(root, 'test', 'bench', 'run.ts'), ...process.argv.slice(2)]);
