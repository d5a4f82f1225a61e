#!/usr/bin/env node
import path from 'node:path';
import { install, root, run } from './launch.mjs';

install({ development: false });
run([path.join(root, 'src', 'cli.ts'), ...process.argv.slice(2)]);
