/**
 * Heads of answers from memory, made once.
 *
 * Node makes the head of each response anew and checks every field of it again, a seventh of the time of a hit in
 * memory. But `OutgoingMessage.end` sends what stands in `_header`, if something does. That field is not documented,
 * though it is old and many depend on it; so it is tried out when this file is loaded, and where it does not do what
 * it should, `writeHead` is used.
 */
import { IncomingMessage, ServerResponse, validateHeaderValue } from 'node:http';
import { Socket } from 'node:net';
import { PassThrough } from 'node:stream';

/** Writes heads of status 200 whose fields are always the same. */
export class ReadyHeads {
  readonly #heads = new WeakMap<readonly string[], string>();
  #tail = '';
  #tailUntil = 0;

  /** @param fields names and values in turn, the same list each time; Date and Connection come in addition */
  write(request: IncomingMessage, response: ServerResponse, fields: string[]): void {
    const isUsual = response.shouldKeepAlive && request.httpVersionMinor === 1 && request.httpVersionMajor === 1;
    if (!isUsual || !setHead(response, this.#headOf(fields) + this.#dateLine())) response.writeHead(200, fields);
  }

  #headOf(fields: readonly string[]): string {
    let head = this.#heads.get(fields);
    if (head === undefined) {
      head = makeHead(fields);
      this.#heads.set(fields, head);
    }
    return head;
  }

  #dateLine(): string {
    const now = Date.now();
    if (now >= this.#tailUntil || now < this.#tailUntil - 1000) {
      this.#tailUntil = now - (now % 1000) + 1000;
      this.#tail = `Date: ${new Date(now).toUTCString()}\r\nConnection: keep-alive\r\n\r\n`;
    }
    return this.#tail;
  }
}

/** Checked as writeHead would, though once only. */
function makeHead(fields: readonly string[]): string {
  let head = 'HTTP/1.1 200 OK\r\n';
  for (let at = 0; at < fields.length; at += 2) {
    const [name = '', value = ''] = fields.slice(at, at + 2);
    validateHeaderValue(name, value);
    head += `${name}: ${value}\r\n`;
  }
  return head;
}

interface WithHead {
  _header: string | null;
}

const isSettable = tryOut();

function setHead(response: ServerResponse, head: string): boolean {
  if (isSettable) (response as unknown as WithHead)._header = head;
  return isSettable;
}

/** Whether a response sends the head that was set, and the body after it. */
function tryOut(): boolean {
  const socket = new PassThrough();
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  if ((response as unknown as WithHead)._header !== null) return false;
  response.assignSocket(socket as unknown as Socket);
  (response as unknown as WithHead)._header = 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n';
  response.end('x', 'latin1');
  return response.headersSent && String(socket.read()) === 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx';
}
