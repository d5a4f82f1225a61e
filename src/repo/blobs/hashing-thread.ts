/** The thread of `Hashing`: hashes parts of open files, as it is asked to, and answers each question in its turn. */
import { createHash, type Hash } from 'node:crypto';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { limits } from '../../limits.ts';
import { readPart } from './file-source.ts';
import type { HashAnswer, HashQuestion } from './hashing.ts';

if (parentPort !== null) serve(parentPort);

function serve(port: MessagePort): void {
  const hashes = new Map<number, { readonly hash: Hash; to: number }>();
  const room = Buffer.allocUnsafe(limits.hashing.piece);
  port.on('message', (question: HashQuestion) => port.postMessage(answer(question)));

  function answer({ job, fd, to, isLast }: HashQuestion): HashAnswer {
    const known = hashes.get(job) ?? { hash: createHash('sha256'), to: 0 };
    if (isLast) hashes.delete(job);
    else hashes.set(job, known);
    while (known.to < to) {
      const read = readPart({ fd, start: 0 }, to, room, known.to);
      if (read === 0) return { hex: undefined };
      known.hash.update(room.subarray(0, read));
      known.to += read;
    }
    return { hex: known.hash.copy().digest('hex') };
  }
}
