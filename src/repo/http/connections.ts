import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** One client's connection. */
export interface Connection {
  /** The client's address, which a closed socket no longer tells. */
  readonly remote: string;
  /** Requests being answered. */
  busy: number;
  /** When the last one ended, by `performance.now()`. */
  idleSince: number;
}

/**
 * Closes connections that wait for a next request for too long.
 *
 * Node can do this too, with a timer that it sets and clears for each request: an eighth of the time of a hit in
 * memory. Here one sweep looks at all of them now and then. Connections that never sent a request are Node's
 * (headersTimeout).
 */
export class Connections {
  readonly #connections = new Map<Socket, Connection>();

  /** Watches over a server's connections until it closes. @param patience milliseconds */
  watch(server: Server, patience: number): void {
    const sweep = setInterval(() => this.#sweep(patience), Math.min(1000, Math.ceil(patience / 4)));
    sweep.unref();
    server.on('close', () => clearInterval(sweep));
  }

  /** A request came. @returns its connection; `end` is to be called once for each call of this */
  begin(socket: Socket): Connection {
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      connection = { remote: socket.remoteAddress ?? '', busy: 0, idleSince: 0 };
      this.#connections.set(socket, connection);
      socket.once('close', () => this.#connections.delete(socket));
    }
    connection.busy += 1;
    return connection;
  }

  /** A request was answered. @param now by `performance.now()` */
  end(connection: Connection, now: number): void {
    connection.busy -= 1;
    connection.idleSince = now;
  }

  #sweep(patience: number): void {
    const now = performance.now();
    for (const [socket, { busy, idleSince }] of this.#connections) {
      if (busy === 0 && now - idleSince > patience) socket.destroy();
    }
  }
}
