/**
 * The forward proxy: which hosts are reached through us, and as what. Only those that the configuration names.
 */
import type { IncomingMessage } from 'node:http';
import net, { type Socket } from 'node:net';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import { assertMayReach, guardedLookup, hostOf } from '../repo/upstream/addresses.ts';
import type { SourceType } from './sources.ts';

/** An internet site, as the configuration names it. */
export interface Site {
  /** Of `/upstreams/<name>/`. */
  readonly name: string;
  readonly url: URL;
  /** Answered in its place; its own host is always among them. Lower case. */
  readonly hosts: ReadonlySet<string>;
  /** Through which it is reached. */
  readonly proxy: URL | undefined;
}

export interface ForwardParts {
  readonly sites: readonly Site[];
  readonly conductors: readonly URL[];
  readonly sourceType: SourceType;
  readonly offlineMode: boolean;
  readonly onRefused: (target: string, why: string) => void;
}

export class Forward {
  readonly #parts: ForwardParts;
  /** Connections of clients that sent CONNECT. */
  readonly #clients = new Set<Socket>();

  constructor(parts: ForwardParts) {
    this.#parts = parts;
  }

  /** As Beyond.pathOf. */
  pathOf(target: URL, isSelf: boolean): string {
    const { conductors } = this.#parts;
    const path = `${target.pathname}${target.search}`;
    if (isSelf) return path;
    const isConductor = conductors.some(({ host, protocol }) => host === target.host && protocol === target.protocol);
    if (isConductor && /^\/(?:repos|upstreams)\//.test(path)) return path;
    const site = this.#siteOf(hostOf(target), target.port);
    if (site === undefined) throw this.#refused(target.host, 'It is no host of an upstream in the configuration.');
    const base = site.url.pathname.replace(/\/*$/, '/');
    if (!target.pathname.startsWith(base)) {
      throw this.#refused(target.host, `Only what lies below ${base} of it is configured.`);
    }
    return `/upstreams/${site.name}/${path.slice(base.length)}`;
  }

  /** A blind tunnel to a configured host: what goes through it is not kept, so it is for the internet only. */
  tunnel(request: IncomingMessage, client: Socket, head: Buffer): void {
    client.on('error', () => client.destroy());
    this.#clients.add(client);
    client.once('close', () => this.#clients.delete(client));
    try {
      this.#open(request, client, head);
    } catch (error) {
      refuse(client, error);
    }
  }

  /** The server stops. Whoever keeps a tunnel open for nothing would keep it from that. */
  cutTunnels(): void {
    for (const client of this.#clients) client.destroy();
  }

  #open(request: IncomingMessage, client: Socket, head: Buffer): void {
    const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/@]+)):(\d{1,5})$/i.exec(request.url ?? '');
    const host = (match?.[1] ?? match?.[2] ?? '').toLowerCase();
    const port = Number(match?.[3]);
    const site = this.#siteOf(host, match?.[3] === '443' ? '' : (match?.[3] ?? ''));
    if (site === undefined)
      throw this.#refused(request.url ?? '', 'It is no host of an upstream in the configuration.');
    const { offlineMode, sourceType } = this.#parts;
    if (offlineMode || sourceType === 'conductor-only') {
      const mode = offlineMode ? 'in offline mode' : 'with source-type conductor-only';
      const advice =
        'Use http:// in place of https:// in the address, or baseurl with the address of this server: then it answers itself.';
      throw this.#refused(request.url ?? '', `Nothing leads to the internet ${mode}. ${advice}`);
    }
    if (this.#clients.size > limits.proxy.tunnels)
      throw this.#refused(request.url ?? '', 'There are too many tunnels already.');
    const mayBeInner = (name: string) => site.hosts.has(name.toLowerCase()) || name === site.proxy?.hostname;
    const { proxy } = site;
    if (proxy === undefined) assertMayReach(new URL(`https://${request.url}`), mayBeInner);
    const there = net.connect({
      host: proxy === undefined ? host : hostOf(proxy),
      port: proxy === undefined ? port : Number(proxy.port || 80),
      lookup: guardedLookup(mayBeInner),
    });
    there.once('close', () => client.destroy());
    client.once('close', () => there.destroy());
    there.once('connect', () => {
      // An outgoing proxy answers the client itself.
      if (proxy === undefined) client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      else there.write(`CONNECT ${request.url} HTTP/1.1\r\nHost: ${request.url}\r\n\r\n`);
      there.write(head);
      there.pipe(client);
      client.pipe(there);
    });
    there.on('error', (cause) => {
      if (there.connecting || client.bytesWritten === 0) refuse(client, unreachable(host, cause));
      else client.destroy();
    });
    for (const socket of [there, client]) socket.setTimeout(limits.proxy.tunnelIdle, () => socket.destroy());
  }

  /** @param port as in a URL: empty for the scheme's own */
  #siteOf(host: string, port: string): Site | undefined {
    return this.#parts.sites.find(
      ({ hosts, url }) => hosts.has(host.toLowerCase()) && (port === '' || port === url.port),
    );
  }

  #refused(target: string, why: string): AirlockError {
    this.#parts.onRefused(target, why);
    return new AirlockError('proxy.refused', `${target.slice(0, 256)} cannot be reached through this server. ${why}`);
  }
}

function unreachable(host: string, cause: Error): AirlockError {
  if (cause instanceof AirlockError) return cause;
  return new AirlockError('upstream.unreachable', `${host} cannot be reached (${cause.message}).`, { cause });
}

/** How long a refused client may take to read why, milliseconds. */
const LINGER = 2000;

function refuse(client: Socket, error: unknown): void {
  const known =
    error instanceof AirlockError ? error : new AirlockError('http.bad-request', 'This tunnel cannot be made.');
  const body = `${known.message}\n`;
  const reason = known.httpStatus === 403 ? 'Forbidden' : 'Not possible';
  // What the client still says is read and forgotten: else it would get a reset in place of the reason.
  client.resume();
  setTimeout(() => client.destroy(), LINGER).unref();
  client.end(
    `HTTP/1.1 ${known.httpStatus} ${reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
