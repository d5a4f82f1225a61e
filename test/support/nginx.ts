/** nginx, as sites on the internet have it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './ports.ts';
import type { Scope } from './scope.ts';
import { tempDir } from './temp-dir.ts';

/** A line of its log. */
export interface NginxRequest {
  readonly server: string;
  readonly method: string;
  readonly uri: string;
  readonly status: string;
  /** Of the body, sent. */
  readonly bytes: string;
  readonly range: string;
  readonly authorization: string;
  readonly via: string;
}

export interface Nginx {
  /** Where its files are: `root` of all servers. */
  readonly dir: string;
  /** By server. */
  readonly ports: readonly number[];
  requests(): Promise<NginxRequest[]>;
  /** Ends it as if the machine had been switched off. */
  kill(): Promise<void>;
  /** Starts it again on the same ports. */
  start(): Promise<void>;
}

const FIELDS = {
  server: '$server_port',
  method: '$request_method',
  uri: '$request_uri',
  status: '$status',
  bytes: '$body_bytes_sent',
  range: '$http_range',
  authorization: '$http_authorization',
  via: '$http_via',
};
const ENV = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

/**
 * Starts one; stopped after the test.
 * @param servers number of servers, each on a port of its own
 * @param describe directives of each, beside `listen`; `ssl` makes it speak TLS
 * @param at an address of a network namespace, and what stands before a command that shall run there
 */
export async function startNginx(
  t: Scope,
  servers: number,
  describe: (index: number, ports: readonly number[], dir: string) => { ssl?: boolean; lines: readonly string[] },
  at: { readonly wrapper: readonly string[]; readonly address: string } = { wrapper: [], address: '127.0.0.1' },
): Promise<Nginx> {
  const place = await tempDir(t);
  const dir = path.join(place, 'files');
  await mkdir(dir);
  const ports: number[] = [];
  while (ports.length < servers) ports.push(await freePort());
  const blocks = ports.map((port, index) => {
    const { ssl = false, lines } = describe(index, ports, place);
    const listen = `listen ${at.address}:${port}${ssl ? ' ssl' : ''};`;
    return `server {\n${listen}\nroot ${dir};\n${lines.join('\n')}\n}`;
  });
  const file = path.join(place, 'nginx.conf');
  await writeFile(file, configuration(place, blocks));
  let stop = async () => {};
  const start = async () => {
    const [command = '', ...words] = [...at.wrapper, 'nginx', '-p', place, '-c', file];
    const child = spawn(command, [...words, '-e', path.join(place, 'error.log')], {
      env: ENV,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    stop = async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGTERM'); // the worker, too, ends at once
      await gone;
    };
    await written(path.join(place, 'nginx.pid'));
  };
  t.after(() => stop());
  await start();
  const requests = async () => {
    const text = await readFile(path.join(place, 'access.log'), 'utf8');
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as NginxRequest);
  };
  return { dir, ports, requests, kill: () => stop(), start };
}

/** It is written when the sockets are open, and goes when nginx ends. */
async function written(file: string): Promise<void> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await sleep(20)) {
    if ((await readFile(file, 'utf8').catch(() => '')) !== '') return;
  }
  throw new Error(`nginx did not write ${file}`);
}

function configuration(place: string, servers: readonly string[]): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `daemon off;
worker_processes 1;
pid ${place}/nginx.pid;
${process.getuid?.() === 0 ? 'user root;' : ''}
events {}
http {
${temporary.map((name) => `${name}_temp_path ${place}/tmp;`).join('\n')}
log_format facts escape=json '${JSON.stringify(FIELDS)}';
access_log ${place}/access.log facts;
sendfile on;
default_type application/octet-stream;
${servers.join('\n')}
}
`;
}
