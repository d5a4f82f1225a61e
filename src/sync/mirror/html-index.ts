/**
 * The links of an index page as web servers write it (Artifactory, Apache, nginx and their like), and the text behind each.
 * Read piece by piece: nothing of the page is held but the links. Nothing but `<a href>` counts; comments and scripts are
 * passed over, and whatever is no HTML is text.
 */

export interface IndexLink {
  /** As it stands there, character references resolved. */
  readonly href: string;
  /** What stands behind the link in its line: date and size, as the server writes them. White space is one blank. */
  readonly behind: string;
}

/** Longest tag that is looked at, and longest text behind a link. Characters. */
const TAG = 8192;
const BEHIND = 160;

export class HtmlIndex {
  /** It says that it is an index. */
  isIndex = false;
  isArtifactory = false;
  readonly #onLink: (link: IndexLink) => void;
  #rest = '';
  /** What ends that which is passed over: `-->`, `</script`. */
  #until: string | undefined;
  #href: string | undefined;
  #isInLink = false;
  #behind = '';
  #before = '';

  constructor(onLink: (link: IndexLink) => void) {
    this.#onLink = onLink;
  }

  write(text: string): void {
    this.#rest += text;
    while (this.#rest !== '' && this.#step());
  }

  end(): void {
    this.#text(this.#rest);
    this.#endLink();
  }

  /** @returns false if more must come first */
  #step(): boolean {
    if (this.#until !== undefined) return this.#pass(this.#until);
    const at = this.#rest.indexOf('<');
    this.#text(at < 0 ? this.#rest : this.#rest.slice(0, at));
    this.#rest = at < 0 ? '' : this.#rest.slice(at);
    if (this.#rest.length < 4) return false;
    if (this.#rest.startsWith('<!--')) {
      this.#until = '-->';
      return true;
    }
    const end = endOfTag(this.#rest);
    if (end < 0 && this.#rest.length <= TAG) return false;
    if (end >= 0) this.#tag(this.#rest.slice(0, end));
    this.#rest = this.#rest.slice(end < 0 ? TAG : end);
    return true;
  }

  #pass(until: string): boolean {
    const at = this.#rest.toLowerCase().indexOf(until);
    this.#rest = at < 0 ? this.#rest.slice(1 - until.length) : this.#rest.slice(at + until.length);
    if (at >= 0) this.#until = undefined;
    return at >= 0;
  }

  #tag(tag: string): void {
    const name = /^<(\/?[a-z]\w*)/i.exec(tag)?.[1]?.toLowerCase();
    if (name === 'script' || name === 'style') this.#until = `</${name}`;
    if (name === 'a') {
      this.#endLink();
      this.#href = hrefOf(tag);
      this.#isInLink = true;
    } else if (name === '/a') {
      this.#isInLink = false;
    } else if (name !== undefined && LINE_ENDS.has(name)) {
      this.#endLink();
    } else if (!this.#isInLink) {
      this.#text(' '); // cells of a table are parted
    }
  }

  #text(text: string): void {
    const seen = this.#before + text; // a piece may end within a word
    if (/\bindex of\b|\bdirectory listing\b/i.test(seen)) this.isIndex = true;
    if (seen.includes('Artifactory')) this.isArtifactory = true;
    this.#before = seen.slice(-20);
    if (this.#href === undefined || this.#isInLink) return;
    const line = /^[^\n]*/.exec(text)?.[0] ?? '';
    if (this.#behind.length < BEHIND) this.#behind += line.slice(0, BEHIND);
    if (line.length < text.length && this.#behind.trim() !== '') this.#endLink();
  }

  #endLink(): void {
    const href = this.#href;
    const behind = this.#behind
      .replace(/&nbsp;|\s+/g, ' ')
      .trim()
      .slice(0, BEHIND);
    this.#href = undefined;
    this.#isInLink = false;
    this.#behind = '';
    if (href !== undefined) this.#onLink({ href, behind });
  }
}

/** A line of a listing does not go on behind these. */
const LINE_ENDS = new Set(['/tr', 'tr', 'br', '/li', 'li', 'hr', '/pre', '/table', 'address', '/body']);

/** Behind its `>`, which counts for nothing within quotes; -1: there is none yet. */
function endOfTag(text: string): number {
  let quote = '';
  for (let at = 1; at < text.length && at < TAG; at += 1) {
    const character = text[at] ?? '';
    if (quote !== '') quote = character === quote ? '' : quote;
    else if (character === '>') return at + 1;
    else if ((character === '"' || character === "'") && text[at - 1] === '=') quote = character;
  }
  return -1;
}

function hrefOf(tag: string): string | undefined {
  const match = /\shref=(?:"([^"]*)"|'([^']*)'|([^\s>"']+))/i.exec(tag);
  const href = match?.[1] ?? match?.[2] ?? match?.[3];
  return href === undefined ? undefined : resolved(href.trim());
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Character references, as far as they occur in links. */
function resolved(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(amp|lt|gt|quot|apos));/gi, (all, decimal, hex, named) => {
    if (named !== undefined) return NAMED[String(named).toLowerCase()] ?? all;
    const code = decimal === undefined ? Number.parseInt(String(hex), 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : all;
  });
}
