/**
 * The shortest way from a request to the socket: GET of a whole small file that lies in memory.
 *
 * The front sees each connection before Node's HTTP server does, and answers requests that it recognises whole
 * (plain-request.ts) as long as one comes at a time. At the first one that is anything else, it hands the connection
 * over with every byte of that request, for good. So HTTP is read in one place, by Node; the front only knows a
 * few sentences of it by heart. That makes such hits three times as cheap.
 */
import { type Server, validateHeaderValue } from 'node:http';
import type { Socket } from 'node:net';
import type { ArtifactSource, MemoryBody } from '../artifact-source.ts';
import type { AccessLog } from './access-log.ts';
import { contentHeaders } from './headers.ts';
import type { HttpLimits } from './node-server.ts';
import { plainPath } from './plain-request.ts';
import type { Traffic } from './traffic.ts';

export interface FrontParts {
  /** What is under `/repos/`. */
  readonly source: Required<ArtifactSource>;
  readonly limits: HttpLimits;
  readonly traffic: Traffic;
  readonly log: AccessLog | undefined;
}

/** A connection that the front has not handed over. */
interface Guest {
  readonly remote: string;
  /** When it came, or its last answer went, by `performance.now()`. */
  idleSince: number;
  /** How long it may stay silent from then on, milliseconds. */
  patience: number;
}

/** How often silent connections are looked for, milliseconds at most. */
const SWEEP = 1000;

export class Front {
  readonly #parts: FrontParts;
  readonly #guests = new Map<Socket, Guest>();
  readonly #heads = new WeakMap<readonly string[], string>();
  #isDraining = false;
  #dateLines = '';
  #dateUntil = 0;

  constructor(parts: FrontParts) {
    this.#parts = parts;
  }

  /** Puts the front before a server that does not listen yet. */
  attach(server: Server): void {
    const serve = server.listeners('connection');
    server.removeAllListeners('connection');
    const handOver = (socket: Socket) => {
      for (const listener of serve) listener.call(server, socket);
    };
    server.on('connection', (socket) => this.#receive(socket, handOver));
    const { headersTimeout, keepAliveTimeout } = this.#parts.limits;
    const sweep = setInterval(() => this.#sweep(), Math.min(SWEEP, headersTimeout / 4, keepAliveTimeout / 4)).unref();
    server.on('close', () => clearInterval(sweep));
  }

  /** Lets go of the connections that wait for nothing, and leaves everything that comes to the server. */
  drain(): void {
    this.#isDraining = true;
    for (const socket of this.#guests.keys()) socket.end();
  }

  /** Cuts what `drain` left. */
  close(): void {
    for (const socket of this.#guests.keys()) socket.destroy();
  }

  #receive(socket: Socket, handOver: (socket: Socket) => void): void {
    const { limits } = this.#parts;
    const guest = {
      remote: socket.remoteAddress ?? '',
      idleSince: performance.now(),
      patience: limits.headersTimeout,
    };
    this.#guests.set(socket, guest);
    const onData = (chunk: Buffer) => {
      if (this.#answer(socket, guest, chunk)) return;
      leave();
      socket.pause();
      socket.unshift(chunk);
      handOver(socket);
      socket.resume();
    };
    const onEnd = () => socket.end();
    const onError = () => socket.destroy();
    const onTimeout = () => socket.destroy();
    const onClose = () => this.#guests.delete(socket);
    const leave = () => {
      this.#guests.delete(socket);
      socket
        .off('data', onData)
        .off('end', onEnd)
        .off('error', onError)
        .off('timeout', onTimeout)
        .off('close', onClose);
    };
    socket.on('data', onData).on('end', onEnd).on('error', onError).on('timeout', onTimeout).on('close', onClose);
  }

  /** @returns false if the request is the server's; nothing was done then */
  #answer(socket: Socket, guest: Guest, chunk: Buffer): boolean {
    // Until an answer is taken, the next request waits at the server, which then stops reading.
    if (this.#isDraining || socket.writableLength > 0) return false;
    const started = performance.now();
    const path = plainPath(chunk);
    const artifact = path === undefined ? undefined : this.#parts.source.peek(path);
    if (artifact?.body === undefined || artifact.headers !== undefined) return false;
    const head = this.#headOf(contentHeaders(artifact.facts).whole) + this.#dates();
    send(socket, head, artifact.body);
    if (socket.writableLength > 0) this.#await(socket, artifact.body);

    const now = performance.now();
    guest.idleSince = now;
    guest.patience = this.#parts.limits.keepAliveTimeout;
    const bytes = artifact.body.bytes.length;
    this.#parts.traffic.count('content', 200, bytes, now - started);
    this.#parts.log?.add({
      method: 'GET',
      url: `/repos/${path}`,
      status: 200,
      bytes,
      milliseconds: now - started,
      remote: guest.remote,
    });
    return true;
  }

  /** The client does not take the answer at once: the body stays in memory, and is cut off if nothing moves. */
  #await(socket: Socket, body: MemoryBody): void {
    const release = body.hold();
    socket.setTimeout(this.#parts.limits.idleTimeout);
    socket.write('', () => {
      release();
      socket.setTimeout(0);
    });
  }

  /** Checked as writeHead would, though once for each file only. */
  #headOf(fields: readonly string[]): string {
    const known = this.#heads.get(fields);
    if (known !== undefined) return known;
    let head = 'HTTP/1.1 200 OK\r\n';
    for (let at = 0; at < fields.length; at += 2) {
      const [name = '', value = ''] = fields.slice(at, at + 2);
      validateHeaderValue(name, value);
      head += `${name}: ${value}\r\n`;
    }
    this.#heads.set(fields, head);
    return head;
  }

  /** The fields that change with time, and the end of the head. */
  #dates(): string {
    const now = Date.now();
    if (now >= this.#dateUntil || now < this.#dateUntil - 1000) {
      this.#dateUntil = now - (now % 1000) + 1000;
      const seconds = Math.floor(this.#parts.limits.keepAliveTimeout / 1000);
      this.#dateLines = `Date: ${new Date(now).toUTCString()}\r\nConnection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n\r\n`;
    }
    return this.#dateLines;
  }

  #sweep(): void {
    const now = performance.now();
    for (const [socket, { idleSince, patience }] of this.#guests) {
      if (socket.writableLength === 0 && now - idleSince > patience) socket.destroy();
    }
  }
}

/** One write where it can be. */
function send(socket: Socket, head: string, body: MemoryBody): void {
  if (body.text !== null) {
    socket.write(head + body.text, 'latin1');
    return;
  }
  socket.cork();
  socket.write(head, 'latin1');
  socket.write(body.bytes);
  socket.uncork();
}
