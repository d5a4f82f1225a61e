/**
 * The shortest way from a request to the socket: GET of a whole small file that lies in memory.
 *
 * The front sees each connection before Node's HTTP server does, and answers requests that it recognises whole
 * (plain-request.ts) as long as one comes at a time. At the first one that is anything else, it hands the connection
 * over with every byte of that request, for good. So HTTP is read in one place, by Node; the front only knows a
 * few sentences of it by heart. That makes such hits three times as cheap.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { ArtifactFacts, ArtifactSource, MemoryBody, OpenArtifact } from '../artifact-source.ts';
import { type AccessLog, outcomeOf } from './access-log.ts';
import { evaluateConditions } from './conditionals.ts';
import { contentHeaders } from './headers.ts';
import { validateHeaderValue } from './node-http.ts';
import type { HttpLimits } from './node-server.ts';
import { type PlainRequest, plainRequest } from './plain-request.ts';
import type { Traffic } from './traffic.ts';

export interface FrontParts {
  /** By paths of plain requests. */
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
  /** It waits for content to be brought into memory. */
  isLoading: boolean;
}

/** What is the same for all answers with the same content. */
interface ReadyAnswer {
  /** But for the dates. */
  readonly head: string;
  /** For the access log. */
  readonly outcome: string;
}

interface ReadyAnswers {
  readonly whole: ReadyAnswer;
  readonly notModified: ReadyAnswer;
}

/** How often silent connections are looked for, milliseconds at most. */
const SWEEP = 1000;

export class Front {
  readonly #parts: FrontParts;
  readonly #guests = new Map<Socket, Guest>();
  readonly #answers = new WeakMap<ArtifactFacts, ReadyAnswers>();
  readonly #lines = new WeakMap<readonly string[], string>();
  #isDraining = false;
  #dateLines = '';
  #dateUntil = 0;

  constructor(parts: FrontParts) {
    this.#parts = parts;
  }

  /** Puts the front before a server that does not listen yet. @param arrival the event with which it gets its connections */
  attach(server: Server, arrival: 'connection' | 'secureConnection' = 'connection'): void {
    const serve = server.listeners(arrival);
    server.removeAllListeners(arrival);
    const handOver = (socket: Socket) => {
      for (const listener of serve) listener.call(server, socket);
    };
    server.on(arrival, (socket: Socket) => this.#receive(socket, handOver));
    const { headersTimeout, keepAliveTimeout } = this.#parts.limits;
    const sweep = setInterval(() => this.#sweep(), Math.min(SWEEP, headersTimeout / 4, keepAliveTimeout / 4)).unref();
    server.on('close', () => clearInterval(sweep));
  }

  /** Closes the connections that wait for nothing more, and leaves everything that comes to the server. */
  drain(): void {
    this.#isDraining = true;
    for (const [socket, { isLoading }] of this.#guests) {
      if (!isLoading) socket.destroySoon();
    }
  }

  /** Cuts what `drain` left. */
  close(): void {
    for (const socket of this.#guests.keys()) socket.destroy();
  }

  #receive(socket: Socket, handOver: (socket: Socket) => void): void {
    const guest: Guest = {
      remote: socket.remoteAddress ?? '',
      idleSince: performance.now(),
      patience: this.#parts.limits.headersTimeout,
      isLoading: false,
    };
    this.#guests.set(socket, guest);
    const onData = (chunk: Buffer) => {
      // Until an answer is taken, the next request waits at the server, which then stops reading.
      const request = this.#isDraining || socket.writableLength > 0 ? undefined : plainRequest(chunk);
      if (request !== undefined && this.#answer(socket, guest, request)) return;
      // In the stream it stays until somebody reads it, also when the client has ended its side.
      socket.pause();
      socket.unshift(chunk);
      if (request === undefined || guest.isLoading) leave();
      else load(request.path).catch(cut);
    };
    /** Brings the content into memory and looks at the request again; what cannot be there is the server's. */
    const load = async (path: string) => {
      guest.isLoading = true;
      const isLoaded = await this.#load(path);
      if (socket.destroyed) return;
      if (isLoaded) socket.resume();
      else leave();
    };
    const onEnd = () => socket.end();
    const cut = () => socket.destroy();
    const onClose = () => this.#guests.delete(socket);
    const leave = () => {
      this.#guests.delete(socket);
      socket.off('data', onData).off('end', onEnd).off('error', cut).off('timeout', cut).off('close', onClose);
      handOver(socket);
      socket.resume();
    };
    socket.on('data', onData).on('end', onEnd).on('error', cut).on('timeout', cut).on('close', onClose);
  }

  /** @returns false, with nothing done, if the content is not in memory */
  #answer(socket: Socket, guest: Guest, { path, conditions }: PlainRequest): boolean {
    const started = performance.now();
    const hot = this.#parts.source.peek(path);
    if (!isHot(hot)) return false;
    const { facts, body } = hot;
    const { whole, notModified } = this.#answersOf(path, hot);
    const isSame = conditions !== undefined && evaluateConditions(conditions, facts) === 'not-modified';
    const answer = isSame ? notModified : whole;
    const head = answer.head + this.#more(hot.headers) + this.#dates();
    if (isSame) socket.write(head, 'latin1');
    else write(socket, head, body);
    if (socket.writableLength > 0) this.#await(socket, body);
    this.#note(guest, answer, { status: isSame ? 304 : 200, bytes: isSame ? 0 : body.bytes.length, started });
    return true;
  }

  /** @returns whether it is in memory now. Failures are met again, and told, by the server. */
  async #load(path: string): Promise<boolean> {
    const artifact = await this.#parts.source.open(path).catch(() => undefined);
    await artifact?.close();
    return isHot(artifact);
  }

  #note(
    guest: Guest,
    { outcome }: ReadyAnswer,
    { status, bytes, started }: { status: number; bytes: number; started: number },
  ): void {
    const { traffic, log, limits } = this.#parts;
    const now = performance.now();
    guest.isLoading = false;
    guest.idleSince = now;
    guest.patience = limits.keepAliveTimeout;
    const milliseconds = now - started;
    traffic.count('content', status, bytes, milliseconds);
    log?.addHit(outcome, milliseconds, guest.remote);
  }

  /** The client does not take the answer at once: the body stays in memory, and is cut off if nothing moves. */
  #await(socket: Socket, body: MemoryBody): void {
    const release = body.hold();
    socket.setTimeout(this.#parts.limits.idleTimeout);
    socket.write('', () => {
      release();
      if (this.#guests.has(socket)) socket.setTimeout(0); // else the server has set its own by now
    });
  }

  #answersOf(path: string, { facts, headers, body }: HotArtifact): ReadyAnswers {
    let answers = this.#answers.get(facts);
    if (answers === undefined) {
      const { whole, notModified } = contentHeaders(facts);
      const url = path.startsWith('/') ? path : `/repos/${path}`;
      const cache = headers?.[3]; // Cache-Status
      answers = {
        whole: { head: headOf('200 OK', whole), outcome: outcomeOf(url, 200, body.bytes.length, cache) },
        notModified: { head: headOf('304 Not Modified', notModified), outcome: outcomeOf(url, 304, 0, cache) },
      };
      this.#answers.set(facts, answers);
    }
    return answers;
  }

  /** Fields that the source adds, made once for as long as they are the same. */
  #more(headers: readonly string[] | undefined): string {
    if (headers === undefined) return '';
    let lines = this.#lines.get(headers);
    if (lines === undefined) {
      lines = linesOf(headers);
      this.#lines.set(headers, lines);
    }
    return lines;
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
    for (const [socket, { idleSince, patience, isLoading }] of this.#guests) {
      if (!isLoading && socket.writableLength === 0 && now - idleSince > patience) socket.destroy();
    }
  }
}

/** Checked as writeHead would, though once for each file only. */
function headOf(status: string, fields: readonly string[]): string {
  return `HTTP/1.1 ${status}\r\n${linesOf(fields)}`;
}

function linesOf(fields: readonly string[]): string {
  let lines = '';
  for (let at = 0; at < fields.length; at += 2) {
    const [name = '', value = ''] = fields.slice(at, at + 2);
    validateHeaderValue(name, value);
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}

/** Content in memory. */
type HotArtifact = OpenArtifact & { readonly body: MemoryBody };

function isHot(artifact: OpenArtifact | undefined): artifact is HotArtifact {
  return artifact?.body !== undefined;
}

/** One write where it can be. */
function write(socket: Socket, head: string, body: MemoryBody): void {
  if (body.text !== null) {
    socket.write(head + body.text, 'latin1');
    return;
  }
  socket.cork();
  socket.write(head, 'latin1');
  socket.write(body.bytes);
  socket.uncork();
}
