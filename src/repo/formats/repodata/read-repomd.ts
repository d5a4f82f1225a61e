/**
 * Reads a repomd.xml that somebody else wrote. What it names is data: paths are checked by whoever uses them.
 */
import sax from 'sax';
import { AirlockError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import { quote } from '../quote.ts';

/** One metadata file, as its repomd.xml describes it. */
export interface ForeignRecord {
  /** `primary`, `group`, `updateinfo`, `prestodelta` … */
  readonly type: string;
  /** As it stands there, relative to the repository. */
  readonly href: string;
  readonly checksum: Checksum;
  /** Of the decompressed content. */
  readonly openChecksum?: Checksum;
  readonly size?: number;
  readonly openSize?: number;
  /** When it was made, seconds since 1970; some write fractions. */
  readonly timestamp?: number;
  /** xml:base: the place that `href` is relative to, instead of the repository. */
  readonly base?: string;
}

export interface Checksum {
  /** `sha256`; old repositories say `sha` for SHA-1. */
  readonly type: string;
  /** Lower-case hexadecimal digits. */
  readonly value: string;
}

type Draft = { -readonly [Key in keyof ForeignRecord]?: ForeignRecord[Key] };

/**
 * @param bytes of the whole file; longer ones than `limits.repodata.repomd` are refused
 * @throws repodata.invalid for anything that is not well-formed XML of a repomd, has a document type, or contradicts itself
 */
export function readRepomd(bytes: Uint8Array): ForeignRecord[] {
  if (bytes.length > limits.repodata.repomd) throw invalid(`it has ${bytes.length} bytes`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalid('it is not UTF-8', cause);
  }
  return new RepomdReader().read(text);
}

class RepomdReader {
  readonly #records: ForeignRecord[] = [];
  readonly #open: string[] = [];
  #draft: Draft = {};
  #text = '';
  #checksumType = '';
  #hasRoot = false;

  read(text: string): ForeignRecord[] {
    const parser = sax.parser(true, { xmlns: false, position: true });
    parser.onerror = (error) => {
      throw invalid(`line ${parser.line + 1} is no XML`, error);
    };
    parser.ondoctype = () => {
      throw invalid('it has a document type, which repository metadata never has');
    };
    parser.onopentag = ({ name, attributes }) => this.#begin(name, attributes as Record<string, string>);
    parser.ontext = (piece) => this.#add(piece);
    parser.oncdata = (piece) => this.#add(piece);
    parser.onclosetag = (name) => this.#end(name);
    parser.write(text).close();
    if (!this.#hasRoot) throw invalid('it is empty');
    return this.#records;
  }

  #begin(name: string, attributes: Record<string, string>): void {
    this.#open.push(name);
    if (this.#open.length > limits.repodata.depth) throw invalid('its elements lie too deep');
    if (this.#open.length === 1) {
      if (name !== 'repomd' || this.#hasRoot)
        throw invalid(`it begins with <${quote(name)}>, or goes on behind its end`);
      this.#hasRoot = true;
    }
    this.#text = '';
    if (this.#open.length === 2 && name === 'data') this.#draft = { type: attributes.type ?? '' };
    if (this.#open.length !== 3) return;
    if (name === 'location') {
      this.#draft.href = attributes.href ?? '';
      const base = attributes['xml:base'];
      if (base !== undefined) this.#draft.base = base;
    }
    if (name.endsWith('checksum')) this.#checksumType = attributes.type ?? '';
  }

  #add(piece: string): void {
    this.#text += piece;
  }

  #end(name: string): void {
    if (this.#open.length === 3 && this.#open[1] === 'data') this.#field(name, this.#text.trim());
    if (this.#open.length === 2 && name === 'data') this.#finish();
    this.#open.pop();
  }

  #field(name: string, text: string): void {
    if (name === 'checksum') this.#draft.checksum = this.#checksum(text);
    else if (name === 'open-checksum') this.#draft.openChecksum = this.#checksum(text);
    else if (name === 'size') this.#draft.size = numberOf(text);
    else if (name === 'open-size') this.#draft.openSize = numberOf(text);
    else if (name === 'timestamp') this.#draft.timestamp = timeOf(text);
  }

  #checksum(text: string): Checksum {
    const value = text.toLowerCase();
    if (!/^[0-9a-f]{32,128}$/.test(value)) throw invalid(`${quote(text)} is no checksum`);
    return { type: this.#checksumType, value };
  }

  #finish(): void {
    const { type, href, checksum } = this.#draft;
    if (!type || !href || checksum === undefined) throw invalid('an entry lacks its type, its place or its checksum');
    if (this.#records.some((record) => record.type === type)) throw invalid(`${quote(type)} comes twice`);
    if (this.#records.length >= limits.repodata.records) throw invalid('it names too many files');
    this.#records.push({ ...this.#draft, type, href, checksum });
  }
}

/** Whole seconds. What is no number counts as no time; what no calendar has is refused. */
function timeOf(text: string): number {
  const seconds = Math.trunc(Number(text));
  if (Number.isNaN(seconds)) return 0;
  if (seconds >= 0 && seconds <= LAST_SECOND) return seconds;
  throw invalid(`${quote(text)} is no time`);
}

/** The last one that a Date can tell. */
const LAST_SECOND = 8.64e12;

function numberOf(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw invalid(`${quote(text)} is no size`);
}

function invalid(what: string, cause?: unknown): AirlockError {
  return new AirlockError(
    'repodata.invalid',
    `The repomd.xml cannot be used: ${what}. Fetch it again; if it stays so, tell whoever made the repository.`,
    { cause },
  );
}
