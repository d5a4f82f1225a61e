/** `npm run package`: the offline package, in dist/ (docs/offline-package.md). `npm run package -- DIR` puts it elsewhere. */
import path from 'node:path';
import { install, root, run } from './launch.mjs';

install({ development: false });
run([path.join(root, 'packaging', 'package.ts'), ...process.argv.slice(2)]);
