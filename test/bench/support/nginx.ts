import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { listening, lowPort } from '../../support/ports.ts';
import type { Bench } from './bench.ts';
import { ENV, ON_SERVER_CORE, stopLater } from './processes.ts';

/**
 * Starts nginx on the server's core: one worker, sendfile, no access log, connections that stay open.
 * @param files by their names in URLs
 * @returns its URL, without a slash at its end
 */
export async function startNginx(
  bench: Bench,
  stack: AsyncDisposableStack,
  files: ReadonlyMap<string, string>,
): Promise<string> {
  const dir = path.join(bench.dir, 'nginx');
  await mkdir(dir);
  const port = await lowPort();
  await writeFile(path.join(dir, 'nginx.conf'), configuration(dir, port, files));
  const [command, ...pinned] = ON_SERVER_CORE;
  const args = [...pinned, 'nginx', '-p', dir, '-c', path.join(dir, 'nginx.conf'), '-e', path.join(dir, 'error.log')];
  stopLater(stack, spawn(command, args, { env: ENV, stdio: ['ignore', 'ignore', 'inherit'] }));
  await listening(port, bench.signal);
  return `http://127.0.0.1:${port}`;
}

/** Debian's settings for files (sendfile, tcp_nopush), for one worker. */
function configuration(dir: string, port: number, files: ReadonlyMap<string, string>): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `  ${name}_temp_path ${dir}/tmp;`,
  );
  const locations = [...files].map(([name, file]) => `    location = /${name} { alias ${file}; }`);
  return `daemon off;
worker_processes 1;
pid ${dir}/nginx.pid;
${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 4096; }
http {
${temporary.join('\n')}
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port};
${locations.join('\n')}
  }
}
`;
}
