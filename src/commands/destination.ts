/** Files that a command writes where the user says. */
import type { Stats } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import path from 'node:path';
import { AirlockError, systemCode } from '../errors.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';

/**
 * To be called before the work whose result goes there: hours of it shall not end in a folder that is not there.
 * @throws file.not-found if there is no such folder; usage.invalid if it may not be written to, or a folder is in the file's
 *   place
 */
export async function requireFolderOf(file: string): Promise<void> {
  const whole = path.resolve(file);
  const folder = path.dirname(whole);
  const [above, there] = await Promise.all([statIfThere(folder), statIfThere(whole)]);
  if (above?.isDirectory() !== true) {
    throw new AirlockError(
      'file.not-found',
      `There is no folder ${quoteUnsafe(folder)}. Make it, or name another one.`,
    );
  }
  if (there?.isDirectory() === true) {
    throw new AirlockError('usage.invalid', `${quoteUnsafe(file)} is a folder. Name a file in it.`);
  }
  try {
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new AirlockError(
      'usage.invalid',
      `Nothing can be written to ${quoteUnsafe(folder)} (${systemCode(cause) ?? String(cause)}). Name another folder.`,
      { cause },
    );
  }
}

async function statIfThere(file: string): Promise<Stats | undefined> {
  return await stat(file).catch(() => undefined);
}
