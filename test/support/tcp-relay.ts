import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export interface RelayOptions {
  /** The connection is cut once so many bytes went to the server, or came from it. */
  readonly cutAfter?: number;
  /** As `cutAfter`, of bytes in one direction only: to the server, from it. */
  readonly cutAfterSent?: number;
  readonly cutAfterReceived?: number;
  /** In each direction. */
  readonly bytesPerSecond?: number;
  /** Nothing goes on any more once so many bytes went to the server, or came from it; the connection stays. */
  readonly stallAfter?: number;
}

export interface Relay {
  readonly port: number;
  /** Bytes that went in both directions. */
  passed(): number;
  /** Those of them that went to the server. */
  sent(): number;
  stop(): void;
}

/** A bad line to a port of this machine. The caller stops it. */
export async function startRelay(port: number, options: RelayOptions = {}): Promise<Relay> {
  const sockets = new Set<Socket>();
  const { cutAfterSent = options.cutAfter, cutAfterReceived = options.cutAfter, ...both } = options;
  let passed = 0;
  let sent = 0;
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const each of [near, far]) {
      sockets.add(each);
      each.on('error', () => undefined);
      each.on('close', () => {
        near.destroy();
        far.destroy();
      });
    }
    const cut = () => {
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    const onBytes = (bytes: number) => {
      passed += bytes;
    };
    const onSent = (bytes: number) => {
      sent += bytes;
      onBytes(bytes);
    };
    near.pipe(line({ ...both, cutAfter: cutAfterSent }, cut, onSent)).pipe(far);
    far.pipe(line({ ...both, cutAfter: cutAfterReceived }, cut, onBytes)).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    passed: () => passed,
    sent: () => sent,
    stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface Line extends Pick<RelayOptions, 'bytesPerSecond' | 'stallAfter'> {
  readonly cutAfter: number | undefined;
}

function line(
  { cutAfter = Infinity, stallAfter = Infinity, bytesPerSecond }: Line,
  cut: () => void,
  onBytes: (bytes: number) => void,
): Transform {
  let passed = 0;
  return new Transform({
    highWaterMark: 4096,
    transform(chunk: Buffer, _encoding, done) {
      const left = Math.max(0, Math.min(cutAfter, stallAfter) - passed);
      const piece = chunk.subarray(0, left);
      passed += piece.length;
      onBytes(piece.length);
      this.push(piece);
      if (passed >= cutAfter) setImmediate(cut);
      else if (passed >= stallAfter)
        return; // never done
      else if (bytesPerSecond === undefined) done();
      else void sleep((chunk.length / bytesPerSecond) * 1000).then(() => done());
    },
  });
}
