import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Neither a link nor a pipe that somebody put there is waited for. */
const FLAGS = 'iflag=nocache,nofollow,nonblock';

/**
 * Makes Linux forget what it holds in memory of a file: posix_fadvise(2) with POSIX_FADV_DONTNEED, which Node has no call
 * for, and dd of the GNU coreutils has. What is not on the disk yet stays, so the file is to be durable before. Best
 * effort: where there is no such dd, nothing happens. Never fails.
 */
export async function dropFromMemory(file: string): Promise<void> {
  try {
    // Whatever the file is called, `if=` before it keeps it from being taken for an option.
    const child = spawn('dd', [`if=${file}`, FLAGS, 'count=0', 'status=none'], { stdio: 'ignore' });
    await once(child, 'close');
  } catch {
    // Then what is read next may come out of memory.
  }
}
