/** `tls init | renew | client | revoke | show`: certificates for serving over HTTPS, of a small authority of our own. */
import os from 'node:os';
import path from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../app.ts';
import { formatAddress } from '../config/values.ts';
import type { Config } from '../config.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import type { CertificateFacts } from '../repo/http/tls.ts';
import { action, appOptions, type Session, wholeNumber } from './command.ts';
import { formatTable } from './format.ts';

interface OrderFlags {
  readonly name?: readonly string[];
  readonly days?: number;
}

export function tlsCommands(program: Command): void {
  const tls = program.command('tls').description('certificates for serving over HTTPS');
  initCommand(tls);
  renewCommand(tls);
  clientCommand(tls);
  revokeCommand(tls);
  showCommand(tls);
}

function initCommand(tls: Command): void {
  const init = orderOptions(tls.command('init'))
    .option(...NAME)
    .description('make an authority and a certificate of this server, once')
    .addHelpText('after', '\nExample:\n  airlock tls init --name conductor-a --name 10.0.0.5');
  action<[OrderFlags]>(init, async (session, { name = [], days }) => {
    const { DEFAULT_DAYS, initAuthority } = await import('../repo/http/tls-authority.ts');
    const { dataDir, config } = await openConfig(session);
    const order = { days: days ?? DEFAULT_DAYS, now: new Date(), names: name };
    const { ca, server } = await initAuthority(dataDir, order);
    const [host = os.hostname()] = server.facts.names;
    const file = (name: string) => quoteUnsafe(path.join(dataDir, name));
    const lines = [
      `✔ ${file(ca.certificate)}: the authority, until ${day(ca.facts.until)}`,
      `✔ ${file(server.certificate)}: this server, until ${day(server.facts.until)}, as ${server.facts.names.join(', ')}`,
      '',
      'Fingerprint of the authority (SHA-256):',
      `  ${ca.facts.fingerprint}`,
      '',
      'Here, in airlock.yaml, and start the server again:',
      `  tls: { certificate: ${server.certificate}, key: ${server.key} }`,
      '',
      `On each router: copy ${path.basename(ca.certificate)} into its data directory, compare the fingerprint ("airlock tls show ca.pem" there), and`,
      '  ca: ca.pem',
      `  conductors: [${httpsUrl(host, config)}]`,
      `For dnf: sslcacert=/PATH/ca.pem in the .repo file; for curl: --cacert ca.pem.`,
      '',
      `${file('keys/tls/ca.key')} signs in the name of this authority: keep a copy offline. The server does not need it.`,
    ];
    return { json: { ca: facts(ca.facts, ca), server: facts(server.facts, server) }, text: lines.join('\n') };
  });
}

function renewCommand(tls: Command): void {
  const renew = orderOptions(tls.command('renew'))
    .option(NAME[0], 'host name or address of this server; repeatable (default: those of the former one)', collect)
    .description('make a new certificate of this server, signed by the same authority, in the place of the former one')
    .addHelpText(
      'after',
      '\nThe private key stays. For a new one, move keys/tls/server.key away before.\n\nExample:\n  airlock tls renew --days 365',
    );
  action<[OrderFlags]>(renew, async (session, { name = [], days }) => {
    const { DEFAULT_DAYS, renewServer } = await import('../repo/http/tls-authority.ts');
    const { dataDir } = await openConfig(session);
    const server = await renewServer(dataDir, { days: days ?? DEFAULT_DAYS, now: new Date(), names: name });
    const { until, names } = server.facts;
    return {
      json: facts(server.facts, server),
      text: `✔ ${quoteUnsafe(path.join(dataDir, server.certificate))}: this server, until ${day(until)}, as ${names.join(', ')}\nSend SIGHUP to the running server: it takes the new certificate, and no connection ends.`,
    };
  });
}

function clientCommand(tls: Command): void {
  const client = orderOptions(tls.command('client'))
    .argument('<name>', 'of the router, such as router-7')
    .description('make a certificate with which a router introduces itself')
    .addHelpText('after', '\nExample:\n  airlock tls client router-7');
  action<[string, OrderFlags]>(client, async (session, name, { days }) => {
    const { DEFAULT_DAYS, issueClient } = await import('../repo/http/tls-authority.ts');
    const { dataDir } = await openConfig(session);
    const issued = await issueClient(dataDir, name, { days: days ?? DEFAULT_DAYS, now: new Date() });
    const lines = [
      ...[issued.certificate, issued.key].map((file) => `✔ ${quoteUnsafe(path.join(dataDir, file))}`),
      `It is good until ${day(issued.facts.until)}. Carry both files into the data directory of the router, and write there:`,
      `  clientCertificate: ${name}.pem`,
      `  clientKey: ${name}.key`,
      'Here, those who have one are let in, and nobody else, with:',
      '  tls: { …, clients: keys/tls/ca.pem }',
    ];
    return { json: facts(issued.facts, issued), text: lines.join('\n') };
  });
}

function revokeCommand(tls: Command): void {
  const revoke = tls
    .command('revoke')
    .argument('<what>', 'the name of a client whose certificate is here, or a serial number')
    .description('let a client in no more, though its certificate is valid')
    .addHelpText(
      'after',
      '\nAfter that, "airlock tls client" makes a new one for it.\n\nExample:\n  airlock tls revoke router-7',
    );
  action<[string]>(revoke, async (session, what) => {
    const { revokeClient } = await import('../repo/http/tls-authority.ts');
    const { dataDir } = await openConfig(session);
    const { serial, subject } = await revokeClient(dataDir, what, new Date());
    const lines = [
      subject === null ? `✔ Serial number ${serial} is revoked.` : `✔ ${subject}, serial number ${serial}, is revoked.`,
      'Send SIGHUP to the running server: it lets this client in no more, and ends its connections.',
      `At every other server that lets in clients of the same authority: airlock tls revoke ${serial}`,
    ];
    return { json: { serial, subject }, text: lines.join('\n') };
  });
}

function showCommand(tls: Command): void {
  const show = tls
    .command('show')
    .argument('[file]', 'a certificate in PEM (default: all that are here, and that of the configuration)')
    .description('list certificates: whose they are, until when, and their fingerprints')
    .addHelpText('after', '\nExamples:\n  airlock tls show\n  airlock tls show ca.pem');
  action<[string | undefined]>(show, async (session, file) => {
    const all = file === undefined ? await certificatesHere(session) : await certificatesIn(file);
    const { RENEW_DAYS } = await import('../repo/http/tls.ts');
    const { readRevoked } = await import('../repo/http/tls-revoked.ts');
    const revoked = await readRevoked(path.resolve(appOptions(session.options).dataDir));
    const soon = Date.now() + RENEW_DAYS * 24 * 60 * 60_000;
    const state = ({ serial, until }: CertificateFacts) => {
      if (revoked.has(serial)) return ' (revoked)';
      return until.getTime() < Date.now() ? ' (expired)' : until.getTime() < soon ? ' (soon)' : '';
    };
    const rows = all.map(({ file: name, facts: each }) => [
      name,
      each.subject,
      `${day(each.until)}${state(each)}`,
      each.names.join(' '),
    ]);
    const prints = all.map(
      ({ file: name, facts: { fingerprint } }) => `${quoteUnsafe(name)}\n  SHA-256 ${fingerprint}`,
    );
    const none = 'There are no certificates here. "airlock tls init" makes an authority and one of this server.';
    return {
      json: all.map(({ file: certificate, facts: each }) => ({
        ...facts(each, { certificate }),
        revoked: revoked.has(each.serial),
      })),
      text: all.length === 0 ? none : [formatTable(['File', 'Of', 'Until', 'Names'], rows), '', ...prints].join('\n'),
    };
  });
}

interface Shown {
  readonly file: string;
  readonly facts: CertificateFacts;
}

async function certificatesHere(session: Session): Promise<Shown[]> {
  const { listIssued } = await import('../repo/http/tls-authority.ts');
  const { dataDir, config } = await openConfig(session);
  const made = await listIssued(dataDir);
  const configured = [config.tls?.certificate, config.tls?.clients, config.ca, config.clientCertificate];
  const others = configured.filter((file) => file !== undefined && made.every((each) => each.file !== file));
  const more: Shown[] = [];
  for (const file of new Set(others)) {
    if (file !== undefined) more.push(...(await certificatesIn(path.resolve(dataDir, file), file)));
  }
  return [...made, ...more];
}

/** @throws config.invalid if it is no certificate */
async function certificatesIn(file: string, name: string = file): Promise<Shown[]> {
  const { readCertificates } = await import('../repo/http/tls-files.ts');
  const { factsOf } = await import('../repo/http/tls.ts');
  const { all } = await readCertificates('.', { key: 'tls show', file });
  return all.map((certificate) => ({ file: name, facts: factsOf(certificate) }));
}

const NAME = [
  '--name <host>',
  'host name or address under which clients reach this server; repeatable (default: those of this machine)',
  collect,
] as const;

function orderOptions(command: Command): Command {
  return command.option('--days <n>', 'how long it is valid (default: 825)', days);
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

function days(text: string): number {
  const value = wholeNumber(text);
  if (value <= 36_500) return value;
  throw new InvalidArgumentError('A hundred years (36500) are the most.');
}

async function openConfig({ options }: Session): Promise<{ dataDir: string; config: Config }> {
  const opened = appOptions(options);
  return { dataDir: path.resolve(opened.dataDir), config: await loadConfig(opened) };
}

function httpsUrl(host: string, { listen: { port } }: Config): string {
  return `https://${formatAddress({ host, port })}`;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** For programs. */
function facts(
  { subject, issuer, serial, names, from, until, fingerprint }: CertificateFacts,
  files: { readonly certificate: string; readonly key?: string },
): object {
  const { certificate, key } = files;
  return {
    certificate,
    ...(key === undefined ? {} : { key }),
    ...{ subject, issuer, serial, names, from: from.toISOString(), until: until.toISOString(), fingerprint },
  };
}
