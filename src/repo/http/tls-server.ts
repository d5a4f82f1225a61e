/**
 * The server over TLS: Node's own, and who is let in.
 *
 * Clients whose certificate is missing or of a foreign authority are not cut off in the midst of the handshake, where their
 * programs would have nothing to say but "reset": they are told in HTTP, and get nothing else.
 */
import type { X509Certificate } from 'node:crypto';
import type { RequestListener, ServerOptions } from 'node:http';
import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from './logger.ts';
import type { TlsMaterial } from './tls.ts';
import { serialOf } from './tls-revoked.ts';

interface TlsServerOptions {
  readonly server: ServerOptions;
  readonly tls: TlsMaterial;
  /** How long a handshake may take, milliseconds. */
  readonly handshakeTimeout: number;
  readonly logger: Logger;
}

/** How long a refused client may take to read why, milliseconds. */
const LINGER = 2000;

export class TlsServer {
  readonly server: Server;
  readonly #logger: Logger;
  readonly #options: TlsServerOptions;
  /** Connections that nobody else knows of, by the address of the other side: in their handshake, or refused. */
  readonly #young = new Map<string, Socket>();
  readonly #clients: TlsMaterial['clients'];
  /** Connections of clients that were asked for a certificate, and let in. */
  readonly #admitted = new Set<TLSSocket>();
  #revoked: TlsMaterial['revoked'];

  constructor(options: TlsServerOptions, listener: RequestListener) {
    const { server, tls, handshakeTimeout, logger } = options;
    this.#options = options;
    this.#logger = logger;
    this.#clients = tls.clients;
    this.#revoked = tls.revoked;
    // Taken this way for the reason that node-http.ts tells.
    const https = process.getBuiltinModule('node:https');
    this.server = https.createServer(
      {
        ...server,
        ...tls.context,
        handshakeTimeout,
        ALPNProtocols: ['http/1.1'],
        requestCert: tls.clients !== 'any',
        rejectUnauthorized: false, // #refuse does, and tells the client why
      },
      listener,
    );
  }

  /** To be called when all others that listen to connections do: strangers do not get to them. */
  attach(): void {
    const { server } = this;
    const serve = server.listeners('secureConnection');
    server.removeAllListeners('secureConnection').removeAllListeners('tlsClientError');
    server.on('connection', (socket: Socket) => this.#watch(socket));
    server.on('secureConnection', (socket: TLSSocket) => {
      const why = this.#objection(socket);
      if (why !== undefined) {
        this.#refuse(socket, why);
        return;
      }
      this.#young.delete(addressOf(socket));
      if (this.#clients !== 'any') this.#remember(socket);
      for (const listener of serve) listener.call(server, socket);
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => this.#fail(error, socket));
  }

  /**
   * From the next connection on; those that are there stay as they are, but those of revoked clients, which are cut. Whether
   * certificates are asked for at all was settled at the start.
   */
  renew({ context, revoked }: TlsMaterial): void {
    this.server.setSecureContext(context);
    this.#revoked = revoked;
    for (const socket of this.#admitted) {
      if (this.#isRevoked(socket.getPeerX509Certificate())) socket.destroy();
    }
  }

  /** Cuts those that have not come so far as to ask for anything. */
  drain(): void {
    for (const socket of this.#young.values()) socket.destroy();
  }

  #watch(socket: Socket): void {
    const address = addressOf(socket);
    this.#young.set(address, socket);
    socket.once('close', () => {
      if (this.#young.get(address) === socket) this.#young.delete(address);
    });
  }

  /** @returns why a client gets nothing */
  #objection(socket: TLSSocket): string | undefined {
    if (this.#clients === 'any') return undefined;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) {
      return this.#clients === 'known'
        ? 'This server is for clients with a certificate only. Ask whoever runs it for one ("airlock tls client NAME").'
        : undefined;
    }
    if (this.#isRevoked(certificate)) {
      return 'The certificate of this client was revoked. Ask whoever runs this server for a new one ("airlock tls client NAME").';
    }
    if (socket.authorized) return undefined;
    return `The certificate of this client is not one that this server knows (${String(socket.authorizationError)}). Ask whoever runs it for one ("airlock tls client NAME").`;
  }

  #isRevoked(certificate: X509Certificate | undefined): boolean {
    return certificate !== undefined && this.#revoked.has(serialOf(certificate.serialNumber) ?? '');
  }

  #remember(socket: TLSSocket): void {
    this.#admitted.add(socket);
    socket.once('close', () => this.#admitted.delete(socket));
  }

  #refuse(socket: TLSSocket, why: string): void {
    this.#logger.warn({ remote: socket.remoteAddress, why }, 'a client was refused for its certificate');
    const cut = () => socket.destroy();
    socket.on('error', cut).setTimeout(this.#options.handshakeTimeout, cut);
    socket.once('data', () => farewell(socket, '403 Forbidden', why));
  }

  #fail(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    const { remoteAddress: remote } = socket;
    const raw = this.#young.get(addressOf(socket));
    if (error.code === 'ERR_SSL_HTTP_REQUEST' && raw?.writable) {
      farewell(raw, '400 Bad Request', 'This server speaks HTTPS: write https:// in place of http:// in the address.');
      return;
    }
    this.#logger.debug({ remote, error: error.code ?? error.message }, 'a TLS handshake failed');
    socket.destroy();
    raw?.destroy();
  }
}

function addressOf({ remoteAddress = '', remotePort = 0 }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Says why, and closes. What the client still says is read and forgotten: else it would get a reset in place of the reason. */
function farewell(socket: Socket, status: string, why: string): void {
  const body = `${why}\n`;
  const head = `Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close`;
  socket.on('error', () => socket.destroy()).resume();
  socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`);
  setTimeout(() => socket.destroy(), LINGER).unref();
}
