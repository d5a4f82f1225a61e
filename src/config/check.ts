/**
 * What is wrong with a configuration that can be read, beyond its text: files, certificates and secrets that are not there,
 * names that two upstreams claim, ways on which anybody may change what is fetched.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { configuredKeys } from '../app/upstream-keys.ts';
import { type CertificateConfig, certificateWarnings, readSecret } from '../app/upstream-sites.ts';
import type { Config } from '../config.ts';
import { isAirlockError } from '../errors.ts';
import { readTls } from '../repo/http/tls.ts';

export interface Finding {
  /** The key that it is about. */
  readonly path: readonly string[];
  readonly message: string;
  /** Otherwise the server does not start, or fails where it needs this. */
  readonly isWarning: boolean;
}

/** @returns all that was found; nothing is asked over the network */
export async function checkConfig(dataDir: string, config: Config): Promise<Finding[]> {
  const found = await Promise.all([
    checkTls(dataDir, config),
    checkCertificates(dataDir, [], config),
    ...Object.entries(config.upstreams).map(([name, upstream]) => checkUpstream(dataDir, name, upstream)),
    checkLog(dataDir, config),
  ]);
  return [...found.flat(), ...sharedHosts(config), ...plainSources(config), ...idleSchedule(config)];
}

async function checkTls(dataDir: string, { tls }: Config): Promise<Finding[]> {
  if (tls === undefined) return [];
  const read: string[] = [];
  const faults = await gathered(['tls'], async () => {
    read.push(...(await readTls(dataDir, tls)).warnings);
  });
  return [...faults, ...read.map((message) => ({ path: ['tls'], message, isWarning: true }))];
}

/** With which others introduce themselves to us, and we to them. @param section where they stand */
async function checkCertificates(
  dataDir: string,
  section: readonly string[],
  config: CertificateConfig,
): Promise<Finding[]> {
  const warnings: Finding[] = [];
  const faults = await gathered([...section, 'ca'], async () => {
    const found = await certificateWarnings(dataDir, config, section.map((name) => `${name}.`).join(''));
    warnings.push(...found.map(({ key, message }) => ({ path: [...section, key], message, isWarning: true })));
  });
  return [...faults, ...warnings];
}

async function checkUpstream(dataDir: string, name: string, upstream: Config['upstreams'][string]): Promise<Finding[]> {
  const path = ['upstreams', name];
  const { username, password, keys } = upstream;
  const at = path.join('.');
  const checks = [
    ...(username === undefined ? [] : [() => readSecret(dataDir, `${at}.username`, username)]),
    ...(password === undefined ? [] : [() => readSecret(dataDir, `${at}.password`, password)]),
    ...keys.map((file) => () => configuredKeys(dataDir, `${at}.keys`, [file])),
  ];
  const faults = await Promise.all([
    checkCertificates(dataDir, path, upstream),
    ...checks.map((check) => gathered(path, check)),
  ]);
  return [...faults.flat(), ...exposedSecrets(path, upstream)];
}

function exposedSecrets(at: readonly string[], { url, password }: Config['upstreams'][string]): Finding[] {
  if (password === undefined || url.startsWith('https:')) return [];
  const message = `${at.join('.')}.url: the password goes over plain HTTP, where anybody on the way reads it. Write https://.`;
  return [{ path: [...at, 'url'], message, isWarning: true }];
}

async function checkLog(dataDir: string, { log: { file } }: Config): Promise<Finding[]> {
  if (file === undefined) return [];
  const folder = path.dirname(path.resolve(dataDir, file));
  const stats = await stat(folder).catch(() => undefined);
  if (stats?.isDirectory() === true || folder === path.resolve(dataDir)) return [];
  return [{ path: ['log', 'file'], message: `log.file: there is no folder ${folder}. Make it.`, isWarning: true }];
}

/** Requests through the proxy go by host, port and path: of two upstreams with the same, the second one gets none. */
function sharedHosts({ upstreams }: Config): Finding[] {
  const owners = new Map<string, string>();
  return Object.entries(upstreams).flatMap(([name, { url, hosts }]) => {
    const { hostname, port } = new URL(url);
    const all = new Set([hostname, ...hosts].map((host) => `${host.toLowerCase()}${port === '' ? '' : `:${port}`}`));
    return [...all].flatMap((host) => {
      const owner = owners.get(host);
      owners.set(host, owner ?? name);
      if (owner === undefined) return [];
      const message = `upstreams.${name}: ${host} is also a host of upstreams.${owner}, which gets all requests of clients that use this server as their proxy. /upstreams/${name}/ works.`;
      return [{ path: ['upstreams', name], message, isWarning: true }];
    });
  });
}

function plainSources({ conductors, peer }: Config): Finding[] {
  const all = [
    ...conductors.map((url, at) => ({ url, path: ['conductors', String(at)] })),
    ...(peer === undefined ? [] : [{ url: peer, path: ['peer'] }]),
  ];
  return all.flatMap(({ url, path: at }) =>
    url.startsWith('https:')
      ? []
      : [
          {
            path: at,
            message: `${at.join('.')}: ${url} is plain HTTP: digests find what broke on the way, not what somebody changed there. Serve over TLS ("airlock tls init"), and write https:// with "ca".`,
            isWarning: true,
          },
        ],
  );
}

function idleSchedule({ schedule, upstreams }: Config): Finding[] {
  const isIdle =
    schedule.upstreams !== undefined && Object.values(upstreams).every(({ mirror }) => mirror.length === 0);
  const message = 'schedule.upstreams: no upstream has rules under "mirror"; there is nothing to do.';
  return isIdle ? [{ path: ['schedule', 'upstreams'], message, isWarning: true }] : [];
}

/** @param at the key that is meant where the error does not say */
async function gathered(at: readonly string[], check: () => Promise<unknown>): Promise<Finding[]> {
  try {
    await check();
    return [];
  } catch (error) {
    if (!isAirlockError(error)) throw error;
    const { key } = error.details;
    return [{ path: typeof key === 'string' ? key.split('.') : at, message: error.message, isWarning: false }];
  }
}
