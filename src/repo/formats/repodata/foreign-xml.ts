/**
 * XML that somebody else wrote, read piece by piece: nothing of it is held but the text of the element that is open.
 */
import sax from 'sax';
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { quote } from '../quote.ts';

export interface XmlHandlers {
  /** @param depth 1 for the root */
  open(name: string, attributes: Readonly<Record<string, string>>, depth: number): void;
  /** @param text of the element, white space around it cut off; null where it is too long to be of use */
  close(name: string, text: string | null, depth: number): void;
}

/**
 * @param root names of the element that may be the first
 * @throws repodata.invalid for what is no well-formed XML in UTF-8 with that root, has a document type (and so might have
 *   entities of its own), or is nested too deep; what `pieces` and the handlers throw
 */
export async function readForeignXml(
  pieces: AsyncIterable<Uint8Array>,
  { what, root }: { readonly what: string; readonly root: string },
  handlers: XmlHandlers,
): Promise<void> {
  const reader = new Reader(what, root, handlers);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (piece?: Uint8Array): string => {
    try {
      return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true });
    } catch (cause) {
      throw invalidXml(what, 'it is not UTF-8', cause);
    }
  };
  for await (const piece of pieces) reader.write(decode(piece));
  reader.write(decode());
  reader.end();
}

class Reader {
  readonly #what: string;
  readonly #parser: sax.SAXParser;
  #depth = 0;
  #attributes = 0;
  #text = '';
  #isLong = false;
  #hasRoot = false;

  constructor(what: string, root: string, handlers: XmlHandlers) {
    this.#what = what;
    const parser = sax.parser(true, { xmlns: false, position: false });
    this.#parser = parser;
    parser.onerror = (error) => {
      throw invalidXml(what, 'it is no XML', error);
    };
    parser.ondoctype = () => {
      throw invalidXml(what, 'it has a document type, which repository metadata never has');
    };
    parser.onattribute = () => {
      this.#attributes += 1;
      if (this.#attributes > limits.repodata.attributes) throw invalidXml(what, 'an element has too many attributes');
    };
    parser.onopentag = ({ name, attributes }) => {
      this.#begin(name, root);
      handlers.open(name, attributes as Record<string, string>, this.#depth);
    };
    const add = (piece: string) => this.#add(piece);
    parser.ontext = add;
    parser.oncdata = add;
    parser.onclosetag = (name) => {
      handlers.close(name, this.#isLong ? null : this.#text.trim(), this.#depth);
      this.#depth -= 1;
      this.#text = '';
      this.#isLong = false;
    };
  }

  write(text: string): void {
    this.#parser.write(text);
  }

  end(): void {
    this.#parser.close();
    if (!this.#hasRoot) throw invalidXml(this.#what, 'it is empty');
  }

  #begin(name: string, root: string): void {
    this.#depth += 1;
    this.#attributes = 0;
    this.#text = '';
    this.#isLong = false;
    if (this.#depth > limits.repodata.depth) throw invalidXml(this.#what, 'its elements lie too deep');
    if (this.#depth > 1) return;
    if (name !== root || this.#hasRoot) {
      throw invalidXml(this.#what, `it begins with <${quote(name)}>, or goes on behind its end`);
    }
    this.#hasRoot = true;
  }

  #add(piece: string): void {
    if (this.#isLong) return;
    this.#text += piece;
    if (this.#text.length > limits.repodata.text) {
      this.#isLong = true;
      this.#text = '';
    }
  }
}

/** @param what `primary`, `filelists` @param why a clause */
export function invalidXml(what: string, why: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `The ${what} metadata cannot be used: ${why}. Fetch it again; if it stays so, tell whoever made the repository.`,
    { cause },
  );
}
