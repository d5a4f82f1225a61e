/**
 * Copies end where chunks end, and what is equal goes on beyond: up to a chunk at each end. Extended byte by byte, a copy
 * takes that in, at no cost: it only gets longer.
 */
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import type { Bases } from './bases.ts';
import { type CopyStep, type Step, Steps } from './steps.ts';

const BLOCK = 64 * 1024;

/** @param bases those that are not stored here are left as they are */
export async function extendCopies(steps: readonly Step[], source: ByteSource, bases: Bases): Promise<Steps> {
  const extended = new Steps();
  const buffers = [Buffer.allocUnsafe(BLOCK), Buffer.allocUnsafe(BLOCK)] as const;
  let position = 0;
  let before: CopyStep | undefined;
  for (const [index, step] of steps.entries()) {
    if (step.base !== null) {
      extended.add(step);
      before = step;
    } else {
      const next = steps[index + 1];
      const run = { source, position, length: step.length, buffers };
      const head = before === undefined ? 0 : await sharedAfter(run, before, bases);
      const rest = { ...run, position: position + head, length: step.length - head };
      const tail = next === undefined || next.base === null ? 0 : await sharedBefore(rest, next, bases);
      if (before !== undefined) extended.add({ ...before, offset: before.offset + before.length, length: head });
      extended.add({ base: null, length: step.length - head - tail });
      if (next !== undefined && next.base !== null) extended.add({ ...next, offset: next.offset - tail, length: tail });
    }
    position += step.length;
  }
  return extended;
}

/** New bytes, and where to read them to. */
interface Run {
  readonly source: ByteSource;
  readonly position: number;
  readonly length: number;
  readonly buffers: readonly [Buffer, Buffer];
}

/** How many bytes at the beginning of a run are those that follow a copy in its base. */
async function sharedAfter(run: Run, { base, offset, length }: CopyStep, bases: Bases): Promise<number> {
  const reader = await bases.reader(base);
  if (reader === undefined) return 0;
  const most = Math.min(run.length, reader.size - offset - length);
  for (let done = 0; done < most; ) {
    const [a, b] = await blocks(run, reader, {
      here: run.position + done,
      there: offset + length + done,
      bytes: Math.min(BLOCK, most - done),
    });
    const same = sharedHead(a, b);
    done += same;
    if (same < a.length || same === 0) return done;
  }
  return Math.max(0, most);
}

/** How many bytes at the end of a run are those that stand before a copy in its base. */
async function sharedBefore(run: Run, { base, offset }: CopyStep, bases: Bases): Promise<number> {
  const reader = await bases.reader(base);
  if (reader === undefined) return 0;
  const most = Math.min(run.length, offset);
  for (let done = 0; done < most; ) {
    const bytes = Math.min(BLOCK, most - done);
    const [a, b] = await blocks(run, reader, {
      here: run.position + run.length - done - bytes,
      there: offset - done - bytes,
      bytes,
    });
    if (a.length < bytes || b.length < bytes) return done;
    const same = sharedTail(a, b);
    done += same;
    if (same < bytes) return done;
  }
  return most;
}

async function blocks(
  { source, buffers }: Run,
  reader: ByteSource,
  { here, there, bytes }: { here: number; there: number; bytes: number },
): Promise<[Buffer, Buffer]> {
  const [a, b] = [buffers[0].subarray(0, bytes), buffers[1].subarray(0, bytes)];
  const [ours, theirs] = await Promise.all([source.readAt(a, here), reader.readAt(b, there)]);
  return [a.subarray(0, ours), b.subarray(0, theirs)];
}

function sharedHead(a: Buffer, b: Buffer): number {
  const most = Math.min(a.length, b.length);
  if (a.subarray(0, most).equals(b.subarray(0, most))) return most;
  let at = 0;
  while (at < most && a[at] === b[at]) at += 1;
  return at;
}

function sharedTail(a: Buffer, b: Buffer): number {
  if (a.equals(b)) return a.length;
  let at = 0;
  while (at < a.length && a[a.length - 1 - at] === b[b.length - 1 - at]) at += 1;
  return at;
}
