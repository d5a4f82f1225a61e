/** Does what a document says, block by block. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { tempDir } from '../support/temp-dir.ts';
import { type Block, blocksOf, reasonNotToRun, wordAfter } from './document.ts';
import { Machines, type Ran } from './machines.ts';
import { isShown } from './output.ts';

export const root = path.join(import.meta.dirname, '..', '..');

/** How many blocks of commands there were. */
export interface Walked {
  readonly ran: number;
  /** Why the others did not run. */
  readonly not: readonly string[];
}

/**
 * Runs the blocks of a document in order. With UPDATE_DOCS=1, the blocks that show output are written anew.
 * @param file below the root of the repository
 * @param prepare makes what the document finds when it begins
 * @throws Error that names the line
 */
export async function walk(
  t: TestContext,
  file: string,
  prepare: (machines: Machines, t: TestContext) => Promise<void>,
): Promise<Walked> {
  const document = readFileSync(path.join(root, file), 'utf8');
  const machines = await Machines.in(t, await tempDir(t), document);
  await prepare(machines, t);
  const not: string[] = [];
  const outputs: { readonly block: Block; readonly printed: string }[] = [];
  let ran = 0;
  let last: Ran | undefined;
  for (const block of blocksOf(document)) {
    const at = wordAfter(block, 'at') ?? 'conductor';
    const where = `${file}:${block.line}`;
    if (block.kind === 'yaml') {
      if (wordAfter(block, 'at') !== undefined) await machines.configure(at, block.body);
    } else if (block.kind === 'text') {
      if (last !== undefined) outputs.push({ block, printed: machines.inDocument(last.stdout).replaceAll('\r', '') });
    } else {
      const reason = reasonNotToRun(block) ?? missing(block);
      last = undefined;
      if (reason !== undefined) not.push(`${where}: ${reason}`);
      else {
        last = await runBlock(machines, block, { at, where });
        ran += 1;
      }
    }
  }
  if (process.env.UPDATE_DOCS === '1') writeFileSync(path.join(root, file), withOutputs(document, outputs));
  else {
    for (const { block, printed } of outputs)
      if (!isShown(block.body, printed)) assert.equal(block.body, printed, `${file}:${block.line}`);
  }
  return { ran, not };
}

async function runBlock(
  machines: Machines,
  block: Block,
  { at, where }: { readonly at: string; readonly where: string },
): Promise<Ran | undefined> {
  if (/\bstays\b/.test(block.words)) {
    await machines.stay(at, block.body.trim());
    return undefined;
  }
  const expected = Number(wordAfter(block, 'fails') ?? 0);
  const result = await machines.run(at, block.body);
  assert.equal(result.code, expected, `${where}\n${block.body}${result.stdout}${result.stderr}`);
  // What a command refuses stands on standard error.
  return expected === 0 ? result : { ...result, stdout: `${result.stdout}${result.stderr}` };
}

/** Where a program is not there, what needs it is passed over, but not on the machine that decides. */
function missing(block: Block): string | undefined {
  const program = wordAfter(block, 'needs');
  const folders = (process.env.PATH ?? '').split(':');
  if (program === undefined || folders.some((dir) => existsSync(path.join(dir, program)))) return undefined;
  if (process.env.CI === 'true') throw new Error(`missing: apt-get install -y ${program}`);
  return `missing: apt-get install -y ${program}`;
}

/** What is shown already stays where it is still right, and so does what was cut with `…`. */
function withOutputs(
  document: string,
  outputs: readonly { readonly block: Block; readonly printed: string }[],
): string {
  let text = document;
  for (const { block, printed } of outputs.toReversed()) {
    if (isShown(block.body, printed)) continue;
    text = text.slice(0, block.start) + printed + text.slice(block.start + block.body.length);
  }
  return text;
}
