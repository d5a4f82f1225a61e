import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A TCP port of the loopback that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Waits until somebody listens. @throws Error after ten seconds */
export async function listening(port: number, signal?: AbortSignal): Promise<void> {
  const options = signal === undefined ? {} : { signal };
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(20, undefined, options)) {
    const socket = connect(port, '127.0.0.1');
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return;
  }
  throw new Error(`nobody listens on port ${port}`);
}
