/** docs/errors.md, made from the table of src/errors.ts. */
import { CODES, EXIT } from '../../src/errors.ts';
import { EXIT_MEANINGS } from './command-reference.ts';
import { ERROR_MEANINGS } from './error-meanings.ts';
import { table } from './markdown.ts';

/** The reference as Markdown: the codes, below the exit code that each gives. */
export function errorReference(): string {
  const sections = Object.entries(EXIT)
    .filter(([, exit]) => exit !== EXIT.done)
    .map(([name, exit]) => {
      const rows = Object.entries(CODES)
        .filter(([, facts]) => facts.exit === exit)
        .map(([code, { http }]) => [`\`${code}\``, String(http), ERROR_MEANINGS[code] ?? '']);
      return [
        `## Exit code ${exit}: ${EXIT_MEANINGS[name as keyof typeof EXIT]}`,
        table(['Code', 'HTTP', 'Meaning'], rows),
      ].join('\n\n');
    });
  return `${[INTRODUCTION, ...sections].join('\n\n')}\n`;
}

const INTRODUCTION = `# Errors

<!-- Made from src/errors.ts: UPDATE_DOCS=1 node --test test/docs/reference.test.ts writes it anew. -->

Every failure has a code. It stands in the message on standard error, in the document that \`--json\` prints
(\`{"error": {"code", "message", "details"}}\`), in the log, and in what the server answers. The message says what is wrong and what
to do next. The code decides the exit code of the command, and the HTTP status where a server says it.`;
