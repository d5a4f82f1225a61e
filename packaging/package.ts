/** `npm run package`: makes the offline package in `dist/`, or in the folder that is named. */
import path from 'node:path';
import { makePackage } from './make-package.ts';

const root = path.dirname(import.meta.dirname);
const { file, sha256, sbom } = await makePackage(root, process.argv[2] ?? path.join(root, 'dist'));
process.stdout.write(`${sha256}  ${file}\nBill of materials: ${sbom}\n`);
