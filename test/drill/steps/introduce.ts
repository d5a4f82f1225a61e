/** Staging and site get to know each other, once, by hand; then all servers start. */
import assert from 'node:assert/strict';
import path from 'node:path';
import type { RunningServer } from '../../support/cli.ts';
import { tempDir } from '../../support/temp-dir.ts';
import type { Told } from '../telling.ts';
import { PORTS, SITE, urlOf, type World } from '../world.ts';

/** The root of trust is carried to the conductor that is fed; both conductors sign with one key. */
export async function introduce({ scope, staging, a, b }: World): Promise<Told<void>> {
  const dir = await tempDir(scope);
  const [root, key] = [path.join(dir, 'root.json'), path.join(dir, 'repository.asc')];
  const made = staging.json<{ fingerprint: string }>('keys', 'init');
  await Promise.all([made, a.done('keys', 'repository', 'export', key)]);
  await Promise.all([staging.done('keys', 'export-root', root), b.done('keys', 'repository', 'import', key)]);
  const trusted = await a.json<{ rootFingerprint: string }>('trust', 'add', root, '--site', SITE);
  assert.equal(trusted.rootFingerprint, (await made).fingerprint);
  return {
    value: undefined,
    said: `keys made, the root carried to conductor A, which is the site ${SITE}`,
    checked: ['fingerprints of the root agree', 'the pair shares one key for metadata'],
  };
}

export interface Servers {
  readonly a: RunningServer;
  readonly b: RunningServer;
  readonly router: RunningServer;
}

export async function startServers({ a, b, router, places }: World): Promise<Told<Servers>> {
  const { address } = places.enclave;
  const upstreams = [PORTS.a, PORTS.b].flatMap((port) => ['--upstream', urlOf(address, port)]);
  const [first, second, third] = await Promise.all([
    a.serve(PORTS.a, 'serve'),
    b.serve(PORTS.b, 'serve'),
    router.serve(PORTS.a, 'proxy', ...upstreams),
  ]);
  const health = await places.clients.run('curl', '-sS', '--fail', `${third.url}/healthz`);
  assert.match(health, /alive/);
  return {
    value: { a: first, b: second, router: third },
    said: 'conductors A and B and the router serve',
    checked: ['clients reach the router'],
  };
}
