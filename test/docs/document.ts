/**
 * The blocks of a document. What they are is said behind the backticks, where readers of the page do not see it:
 *
 * - `sh`: commands, run in the order of the page, on the machine named by `at NAME` (default: conductor);
 * - `sh stays`: a command that stays running, in a terminal of its own, until the page ends;
 * - `sh fails N`: its last command ends with exit code N;
 * - `sh needs dnf`: run where that program is;
 * - `sh norun: WHY`: not run, and counted;
 * - `text`: what the block before it prints;
 * - `yaml at NAME`: the configuration of that machine.
 */

/** A block of a document. */
export interface Block {
  readonly kind: 'sh' | 'text' | 'yaml';
  /** The words behind the kind. */
  readonly words: string;
  readonly body: string;
  /** Of its first line, from 1 on. */
  readonly line: number;
  /** Where the body stands in the document. */
  readonly start: number;
}

const KINDS = ['sh', 'text', 'yaml'] as const;

/** Other names for `sh`, under which commands would not be run. */
const OTHERS = ['bash', 'shell', 'console'];

/** Blocks of other kinds are left out. @throws Error for commands under another name */
export function blocksOf(document: string): Block[] {
  return [...document.matchAll(/^```(\w*)([^\n]*)\n([\s\S]*?)^```$/gm)].flatMap((match) => {
    const [whole, named = '', words = '', body = ''] = match;
    const line = document.slice(0, match.index).split('\n').length + 1;
    if (OTHERS.includes(named)) throw new Error(`line ${line - 1}: commands are sh, not ${named}`);
    const kind = KINDS.find((each) => each === named);
    return kind === undefined
      ? []
      : [{ kind, words: words.trim(), body, line, start: match.index + whole.indexOf('\n') + 1 }];
  });
}

/** The value behind a word: `at site` → `site`. */
export function wordAfter({ words }: Block, word: string): string | undefined {
  return new RegExp(`(?:^| )${word} (\\S+)`).exec(words)?.[1];
}

/** Why a block is not run. */
export function reasonNotToRun({ words }: Block): string | undefined {
  return /^norun: (.+)$/.exec(words)?.[1];
}
