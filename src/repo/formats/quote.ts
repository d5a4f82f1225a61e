/** Characters that a terminal would act on, or that would reorder a line: C0, C1, separators, bidirectional marks. */
const UNSAFE = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

/** The other control characters, but for tabs and line feeds. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const CONTROLS = /[\u0000-\u0008\u000b-\u001f]/g;

/**
 * Text from outside (a name, a user id, a line) for a message: in quotes, control characters escaped, at most
 * `most` characters.
 */
export function quote(text: string, most = 100): string {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return JSON.stringify(short).replace(UNSAFE, unicodeEscape);
}

/** A name from outside for a message or a list: as it is where that is harmless, else as `quote` gives it. */
export function quoteUnsafe(text: string, most = 4096): string {
  const quoted = quote(text, most);
  return quoted === `"${text}"` ? text : quoted;
}

/**
 * A text for a terminal, such as a message: what the terminal would act on is escaped, lines stay lines. Names that may
 * hold line feeds go through `quoteUnsafe` before.
 */
export function escapeControls(text: string): string {
  return text.replace(CONTROLS, unicodeEscape).replace(UNSAFE, unicodeEscape);
}

function unicodeEscape(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
