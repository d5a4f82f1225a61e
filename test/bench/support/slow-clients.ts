/**
 * Many clients on thin links, each downloading the same file, each comparing every byte.
 * `node slow-clients.ts URL CLIENTS BYTES-PER-SECOND SECONDS FILE`; prints what memory.ts calls SlowClients.
 *
 * A client reads one small buffer and then reads no more until it is due again: the system's buffers run full, and
 * the server has to wait.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { SlowClients } from '../memory.ts';

const [url = '', clients = '1', rate = '1', seconds = '1', file = ''] = process.argv.slice(2);
const { hostname, port, pathname } = new URL(url);
const PIECE = 4096;
const TICK = 20;
/** Connections are opened over this time, milliseconds. */
const ARRIVAL = 2000;

/** A client cannot get further than this, with a reserve. */
const expected = firstBytes(file, Number(rate) * Number(seconds) * 2 + 2 ** 20);

class SlowClient {
  readonly #socket: Socket;
  #head = '';
  #isHeadRead = false;
  received = 0;
  fault: string | undefined;

  constructor() {
    const onread = {
      buffer: Buffer.allocUnsafe(PIECE),
      callback: (n: number, buffer: Uint8Array) => this.#take(buffer.subarray(0, n)),
    };
    this.#socket = connect({ host: hostname, port: Number(port), onread });
    this.#socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    this.#socket.on('error', (error) => this.#fail(error.message));
    this.#socket.on('end', () => this.#fail('the server ended the connection'));
  }

  readOn(): void {
    this.#socket.resume();
  }

  leave(): void {
    this.#socket.removeAllListeners('end').destroy();
  }

  /** @returns false: read no more until `readOn` */
  #take(bytes: Uint8Array): boolean {
    this.#check(this.#isHeadRead ? bytes : this.#skipHead(bytes));
    return false;
  }

  #skipHead(bytes: Uint8Array): Uint8Array {
    this.#head += Buffer.from(bytes).toString('latin1');
    const end = this.#head.indexOf('\r\n\r\n');
    if (end < 0) return bytes.subarray(bytes.length);
    this.#isHeadRead = true;
    if (!this.#head.startsWith('HTTP/1.1 200 ')) this.#fail(this.#head.slice(0, 100));
    return bytes.subarray(bytes.length - (this.#head.length - end - 4));
  }

  #check(bytes: Uint8Array): void {
    const end = this.received + bytes.length;
    if (Buffer.compare(bytes, expected.subarray(this.received, end)) !== 0) this.#fail(`wrong bytes before ${end}`);
    this.received = end;
  }

  #fail(fault: string): void {
    this.fault ??= fault;
    this.#socket.destroy();
  }
}

const all: SlowClient[] = [];
const started = performance.now();
const turns = setInterval(() => {
  const elapsed = performance.now() - started;
  while (all.length < Math.min(Number(clients), (elapsed / ARRIVAL) * Number(clients))) all.push(new SlowClient());
  const due = (elapsed / 1000) * Number(rate);
  for (const client of all) if (client.received < due) client.readOn();
  if (elapsed < Number(seconds) * 1000) return;
  clearInterval(turns);
  report();
}, TICK);

function report(): void {
  const faults = all.flatMap(({ fault }) => fault ?? []);
  const least = Math.min(...all.map(({ received }) => received));
  const result: SlowClients = { served: all.length - faults.length, least, faults: faults.slice(0, 3) };
  for (const client of all) client.leave();
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function firstBytes(from: string, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  const fd = openSync(from, 'r');
  try {
    return buffer.subarray(0, readSync(fd, buffer, 0, length, 0));
  } finally {
    closeSync(fd);
  }
}
