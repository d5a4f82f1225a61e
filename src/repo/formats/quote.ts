/** Characters that a terminal would act on, or that would reorder a line: C0, C1, separators, bidirectional marks. */
const UNSAFE = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

/**
 * Text from outside (a name, a user id, a line) for a message: in quotes, control characters escaped, at most
 * `most` characters.
 */
export function quote(text: string, most = 100): string {
  const short = text.length > most ? `${text.slice(0, most)}…` : text;
  return JSON.stringify(short).replace(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
