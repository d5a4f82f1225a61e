/**
 * A site on the internet that must not be asked: listens on a port of all addresses, answers everything, and prints a
 * line for each connection. `node trap-child.ts PORT`
 */
import { createServer } from 'node:http';

const server = createServer((request, response) => {
  response.writeHead(200, { connection: 'close', 'cache-control': 'max-age=86400' });
  response.end(`the internet has ${request.url}`);
});
server.on('connection', () => process.stdout.write('connection\n'));
server.listen(Number(process.argv[2]), '0.0.0.0', () => process.stdout.write('listening\n'));
