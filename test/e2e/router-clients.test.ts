/** Clients that know a router as their proxy, in front of sites as vendors run them: nginx and Squid. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { digestOf, testBytes, until } from '../repo/http/support.ts';
import { type Certificate, makeCertificate } from '../support/certificates.ts';
import { needs } from '../support/needs.ts';
import { type Nginx, startNginx } from '../support/nginx.ts';
import { startRouter } from '../support/router.ts';
import { type SquidOptions, startSquid } from '../support/squid.ts';
import { tempDir } from '../support/temp-dir.ts';

const exec = promisify(execFile);
const MiB = 2 ** 20;
const CREDENTIALS = 'fleet:a-token';
const AUTHORIZATION = `Basic ${Buffer.from(CREDENTIALS).toString('base64')}`;

/** Files of the vendor, by name, each with its checksum file. */
async function publish(nginx: Nginx, names: readonly string[], size: number): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const [index, name] of names.entries()) {
    const bytes = testBytes(size, index + 1);
    files.set(name, bytes);
    await mkdir(path.dirname(path.join(nginx.dir, name)), { recursive: true });
    await writeFile(path.join(nginx.dir, name), bytes);
    await writeFile(path.join(nginx.dir, `${name}.sha256sum`), digestOf(bytes).slice(7));
  }
  return files;
}

interface VendorSite {
  readonly nginx: Nginx;
  readonly site: Certificate;
  readonly storage: Certificate;
  /** `https://localhost:…/artifactory` */
  readonly url: string;
}

/**
 * A site as the vendor runs it (vendor.md A5): over TLS, with user and token, and what is asked for lies on another
 * host, at which nobody asks for a token.
 */
async function startVendorSite(t: TestContext): Promise<VendorSite> {
  const place = await tempDir(t);
  const site = makeCertificate(place, 'site', 'DNS:localhost');
  const storage = makeCertificate(place, 'storage', 'IP:127.0.0.1');
  const users = path.join(place, 'users');
  await writeFile(users, `${CREDENTIALS.replace(':', ':{PLAIN}')}\n`);
  const tls = ({ key, certificate }: Certificate) => [`ssl_certificate ${certificate};`, `ssl_certificate_key ${key};`];
  const nginx = await startNginx(t, 2, (index, [, there]) => {
    const asked = `auth_basic vendor; auth_basic_user_file ${users};`;
    const front = [
      // `return` would come before the password is asked for
      `location ~ ^/artifactory/(?<file>.*)$ { ${asked} try_files /nothing @storage; }`,
      `location @storage { return 302 https://127.0.0.1:${there}/$file?signature=x; }`,
      `location /plain/ { alias ${place}/; }`,
    ];
    return index === 0 ? { ssl: true, lines: [...tls(site), ...front] } : { ssl: true, lines: tls(storage) };
  });
  return { nginx, site, storage, url: `https://localhost:${nginx.ports[0]}/artifactory` };
}

test(
  'a site with TLS, passwords and redirects, behind a router that curl, wget and aria2c have as their proxy',
  needs('nginx', 'openssl', 'curl', 'wget', 'aria2c'),
  async (t) => {
    const { nginx, site, storage, url } = await startVendorSite(t);
    const names = ['a.iso', 'b.iso', 'c.iso'];
    const files = await publish(nginx, names, 12 * MiB);
    const config = [
      'upstreams:',
      '  ssr:',
      `    url: ${url}`,
      `    ca: ${site.certificate}`,
      '    hosts: [software.example, 127.0.0.1]',
      '    username: fleet',
      '    password: { env: TOKEN }',
      '',
    ].join('\n');
    // The storage's certificate stands for those that every machine knows.
    const env = { TOKEN: 'a-token', NODE_EXTRA_CA_CERTS: storage.certificate };
    const router = await startRouter(t, [], config, { env });
    const dir = await tempDir(t);
    const at = (name: string) => `http://software.example/artifactory/${name}`;
    const same = async (name: string) => {
      assert.ok((await readFile(path.join(dir, name))).equals(files.get(name) ?? Buffer.alloc(0)), name);
    };
    const curl = (name: string, ...options: string[]) =>
      exec('curl', ['-sS', '--fail', '-x', router.url, ...options, '-o', path.join(dir, name), at(name)]);

    await curl('a.iso', '-r', '0-5000000');
    await curl('a.iso', '-C', '-');
    await same('a.iso');
    await writeFile(path.join(dir, 'b.iso'), files.get('b.iso')?.subarray(0, 7_000_000) ?? '');
    await exec('wget', ['-q', '-c', '-O', path.join(dir, 'b.iso'), at('b.iso')], {
      env: { ...process.env, http_proxy: router.url },
    });
    await same('b.iso');
    await exec('aria2c', [
      '-q',
      '-x8',
      '-s8',
      '-k1M',
      `--all-proxy=${router.url}`,
      '-d',
      dir,
      '-o',
      'c.iso',
      at('c.iso'),
    ]);
    await same('c.iso');
    for (const name of names) {
      await until(`${name} is kept`, async () => {
        const { headers } = await fetch(`${router.url}/upstreams/ssr/${name}`, { method: 'HEAD' });
        return headers.get('x-cache') === 'HIT';
      });
    }

    const asked = await nginx.requests();
    const [front, there] = nginx.ports.map((port) => asked.filter(({ server }) => server === String(port)));
    assert.deepEqual([...new Set(front?.map(({ authorization }) => authorization))], [AUTHORIZATION]);
    assert.deepEqual(
      [...new Set(there?.map(({ authorization }) => authorization))],
      [''],
      'the storage gets no password',
    );
    for (const [name, bytes] of files) {
      const reads = there?.filter(({ uri, method }) => method === 'GET' && uri === `/${name}?signature=x`) ?? [];
      const sent = reads.reduce((sum, each) => sum + Number(each.bytes), 0);
      assert.ok(sent >= bytes.length && sent < 1.5 * bytes.length, `${sent} bytes of ${name} were sent`);
    }

    await nginx.kill();
    for (const name of names) {
      await curl(name);
      await same(name);
    }
    const { stderr } = await router.stop();
    assert.doesNotMatch(stderr, /a-token|signature=x/);
  },
);

test(
  'curl tunnels to a configured site through a router, and to no other place there',
  needs('nginx', 'openssl', 'curl'),
  async (t) => {
    const { site, storage, url } = await startVendorSite(t);
    const router = await startRouter(t, [], `upstreams: { ssr: { url: "${url}", ca: ${site.certificate} } }\n`);
    const curl = (to: string, ca: Certificate) =>
      exec('curl', ['-sS', '-x', router.url, '--cacert', ca.certificate, '-w', ' %{http_code}', to]).then(
        ({ stdout }) => stdout,
        (error: { stderr: string }) => error.stderr,
      );
    const plain = new URL('/plain/site.pem', url).href;
    assert.equal(await curl(plain, site), `${await readFile(site.certificate, 'utf8')} 200`);
    assert.match(await curl('https://127.0.0.1:443/x', storage), /403/);
  },
);

test('what a redirect leads to must be named', needs('nginx', 'openssl'), async (t) => {
  const { nginx, site, storage, url } = await startVendorSite(t);
  await publish(nginx, ['a.iso'], 1000);
  const config = `upstreams: { ssr: { url: "${url}", ca: ${site.certificate}, username: fleet, password: a-token } }\n`;
  const router = await startRouter(t, [], config, { env: { NODE_EXTRA_CA_CERTS: storage.certificate } });
  const answer = await fetch(`${router.url}/upstreams/ssr/a.iso`);
  assert.equal(answer.status, 502);
  assert.match(await answer.text(), /"upstream\.address-refused"/);
  assert.deepEqual(
    (await nginx.requests()).filter(({ server }) => server === String(nginx.ports[1])),
    [],
  );
  assert.match((await router.stop()).stderr, /127\.0\.0\.1 is at 127\.0\.0\.1/);
});

/** @returns the lines of its log */
async function squid(t: TestContext, options: SquidOptions) {
  const started = await startSquid(options);
  t.after(() => started.stop());
  return { url: started.url, log: async () => (await readFile(started.accessLog, 'utf8')).trim().split('\n') };
}

test(
  'Squid is the way out: it finds the hosts, and passes TLS on',
  needs('nginx', 'openssl', 'squid', 'curl'),
  async (t) => {
    const place = await tempDir(t);
    const certificate = makeCertificate(place, 'site', 'DNS:software.example');
    const nginx = await startNginx(t, 2, (index) =>
      index === 0
        ? { lines: [] }
        : {
            ssl: true,
            lines: [`ssl_certificate ${certificate.certificate};`, `ssl_certificate_key ${certificate.key};`],
          },
    );
    const files = await publish(nginx, ['a.iso', 'b.iso'], 3 * MiB);
    // Only Squid knows where the site is.
    const out = await squid(t, {
      more: (dir) => {
        const hosts = path.join(dir, 'hosts');
        writeFileSync(hosts, '127.0.0.1 software.example\n');
        return [`hosts_file ${hosts}`];
      },
    });
    const [plain, secure] = nginx.ports.map(
      (port, index) => `http${index === 0 ? '' : 's'}://software.example:${port}`,
    );
    const router = await startRouter(
      t,
      [],
      `upstreams:
  plain: { url: "${plain}", proxy: "${out.url}" }
  secure: { url: "${secure}", proxy: "${out.url}", ca: ${certificate.certificate} }
`,
    );
    for (const [upstream, name] of [
      ['plain', 'a.iso'],
      ['secure', 'b.iso'],
    ] as const) {
      const answer = await fetch(`${router.url}/upstreams/${upstream}/${name}`);
      assert.equal(answer.status, 200, `${upstream}: ${answer.status === 200 ? '' : await answer.text()}`);
      assert.ok(Buffer.from(await answer.arrayBuffer()).equals(files.get(name) ?? Buffer.alloc(0)), name);
    }
    // a client's own tunnel goes the same way
    const to = path.join(place, 'b.iso');
    const tunnel = ['-x', router.url, '--cacert', certificate.certificate, '-o', to, `${secure}/b.iso`];
    await exec('curl', ['-sS', '--fail', ...tunnel]);
    assert.ok((await readFile(to)).equals(files.get('b.iso') ?? Buffer.alloc(0)));
    await router.stop(); // tunnels are written down when they end
    const lines = await out.log();
    assert.ok(
      lines.some((line) => line.startsWith(`GET ${plain}/a.iso 200 `)),
      lines.join('\n'),
    );
    const tunnels = lines.filter((line) => line.startsWith(`CONNECT software.example:${nginx.ports[1]} 200 `));
    assert.ok(tunnels.length >= 2, lines.join('\n'));
  },
);

test('Squid in front of a site is a source like any other', needs('nginx', 'squid', 'aria2c'), async (t) => {
  const nginx = await startNginx(t, 1, () => ({
    lines: ['location ~ list { add_header Cache-Control no-cache; }'],
  }));
  const files = await publish(nginx, ['repos/images/a.iso', 'repos/images/list.txt'], 6 * MiB);
  const front = await squid(t, {
    originPort: nginx.ports[0] ?? 0,
    more: () => ['cache_mem 64 MB', 'maximum_object_size_in_memory 32 MB', 'collapsed_forwarding on'],
  });
  const router = await startRouter(t, ['--upstream', front.url]);
  const router2 = await startRouter(t, ['--upstream', front.url]);
  const dir = await tempDir(t);
  for (const [index, { url }] of [router, router2].entries()) {
    await exec('aria2c', ['-q', '-x8', '-s8', '-k1M', '-d', dir, '-o', `a${index}`, `${url}/repos/images/a.iso`]);
    assert.ok((await readFile(path.join(dir, `a${index}`))).equals(files.get('repos/images/a.iso') ?? Buffer.alloc(0)));
  }
  // revalidated through Squid: the same, then another
  const read = async () => {
    const answer = await fetch(`${router.url}/repos/images/list.txt`);
    return { bytes: Buffer.from(await answer.arrayBuffer()), cache: answer.headers.get('x-cache') };
  };
  assert.ok((await read()).bytes.equals(files.get('repos/images/list.txt') ?? Buffer.alloc(0)));
  await until('it is kept', async () => (await read()).cache === 'HIT');
  assert.ok((await nginx.requests()).some(({ uri, status }) => uri === '/repos/images/list.txt' && status === '304'));
  const next = testBytes(1000, 9);
  await writeFile(path.join(nginx.dir, 'next'), next);
  await rename(path.join(nginx.dir, 'next'), path.join(nginx.dir, 'repos/images/list.txt'));
  assert.ok((await read()).bytes.equals(next), 'a new one is seen at once');
});
