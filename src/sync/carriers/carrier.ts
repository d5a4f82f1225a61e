/**
 * The seam `Carrier`: a place where bundles travel, such as a folder of a stick or of an SFTP server. Whatever else a
 * place holds is data: nothing there ever becomes a path of ours, and symbolic links are not followed.
 *
 * A name is a segment of a fixed alphabet that FAT, exFAT, NTFS and ISO 9660 take, or one folder and such a segment:
 * `volume-0001.tar`, `metadata/1.root.json`.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import type { ByteSource } from '../../repo/blobs/blob-store.ts';
import { quote, quoteUnsafe } from '../../repo/formats/quote.ts';

/** What a file is called until it is whole. No name ends so. */
export const PARTIAL = '.partial';

/** An open file of a carrier. The caller closes it; closing twice is harmless. */
export interface CarriedFile extends ByteSource {
  /** @throws source.lost when the place goes away or the file gets shorter; interrupted */
  readAt(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/**
 * A file on its way. It has its name only once it is whole and durable; until then it is `NAME.partial`.
 * Exactly one of `commit`, `suspend` and `cancel` ends a writer; `cancel` after any of them is a no-op.
 */
export interface CarrierWriter {
  /**
   * Bytes of an earlier attempt that are kept; the first `write` goes on there. They may be fewer than were written
   * then, because the last ones may not have been durable. Nobody vouches for them: whoever goes on compares them.
   */
  readonly offset: number;
  /** Bytes that it takes up there already: `offset`, and what lies above that until it is written over. */
  readonly held: number;
  /** Reads back what an earlier attempt left: bytes below `offset`, as a ByteSource does. */
  readAt(into: Uint8Array, position: number): Promise<number>;
  /**
   * Appends. The bytes are the caller's again afterwards, but what went wrong with them may only be told by a later call.
   * @throws medium.full, source.lost, storage.failed, interrupted
   */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the bytes durable, then renames: the name is there whole, or not at all. @throws as `write` */
  commit(): Promise<void>;
  /** Keeps what was written, for `create` to go on with. @throws as `write` */
  suspend(): Promise<void>;
  /** Throws away what was written. Never fails. */
  cancel(): Promise<void>;
}

export interface CreateOptions {
  /** Begin anew: what an earlier attempt left is thrown away. Default: go on with it. */
  readonly anew?: boolean;
}

/** Why something that lies in a folder is left alone. */
export type Strange = 'name' | 'link' | 'special';

export interface Listing {
  /** Whole files. `size` in bytes. */
  readonly files: readonly { readonly name: string; readonly size: number }[];
  readonly folders: readonly string[];
  /** Names of files that are not whole, without `.partial`. */
  readonly unfinished: readonly string[];
  /** What is left alone: the first `limits.carrier.named` of them (names raw, for messages quote them), and how many. */
  readonly ignored: readonly { readonly name: string; readonly why: Strange }[];
  readonly ignoredCount: number;
}

export interface Carrier {
  /** For messages: where it is. No secrets. */
  readonly where: string;
  /**
   * What lies there, or in one of its folders; names without the folder. Empty if the folder is not there.
   * @throws bundle.invalid if it is a link or no folder, or holds too much; source.lost
   */
  list(folder?: string): Promise<Listing>;
  /**
   * Opens a whole file to be read at positions.
   * @returns undefined if there is no such file
   * @throws path.invalid for a name that cannot be; bundle.invalid for a link or anything but a file; source.lost;
   *   interrupted
   */
  open(name: string): Promise<CarriedFile | undefined>;
  /**
   * Begins a file, or goes on with it, and makes its folder. One of that name that is there stays until `commit`.
   * There must be one writer of a name at a time.
   * @throws path.invalid; medium.full; bundle.invalid if something there is in the way; usage.invalid if this user may
   *   not write there; source.lost, storage.failed
   */
  create(name: string, options?: CreateOptions): Promise<CarrierWriter>;
  /** Takes away a whole file. Not an error if it is not there. @throws path.invalid, source.lost, usage.invalid */
  remove(name: string): Promise<void>;
  /** One of its folders as a place of its own, on the same connection. Made when the first file in it is. @throws path.invalid */
  folder(name: string): Carrier;
  /**
   * Lets go of what the system still holds in memory of a file, so that who reads it next reads the medium. Best effort: a
   * driver in user space may hold bytes of its own, and a server does as it likes. Never fails. Not there: it cannot be done.
   */
  dropCache?(name: string): Promise<void>;
  /** Bytes that this user may still write; undefined where nobody can tell. @throws source.lost */
  freeSpace(): Promise<number | undefined>;
  /** Makes names durable, as far as the place can. @throws source.lost, storage.failed */
  sync(): Promise<void>;
  /**
   * After `source.lost`: connects again, for this place and all its folders; what was open stays lost. Not there: a lost
   * medium has to be plugged in, not asked again.
   * @throws carrier.unreachable after some attempts; ssh.host-key, ssh.authentication, interrupted
   */
  reconnect?(): Promise<void>;
  /** Ends the connection, if there is one; on a `folder` it does nothing. Twice is harmless. Never fails. */
  close(): Promise<void>;
}

/** Upper case is for COMMIT, SHA256SUMS and README.txt. No dot first or last, so neither `..` nor a hidden file. */
const SEGMENT = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?$/;

/** True for a name that a file of a bundle, or its folder, may have. */
export function isSegment(text: string): boolean {
  return text.length <= limits.carrier.name && SEGMENT.test(text) && !text.endsWith(PARTIAL);
}

/**
 * @returns one segment, or a folder and one
 * @throws path.invalid
 */
export function segmentsOf(name: string): string[] {
  const segments = name.split('/');
  if (segments.length <= 2 && segments.every(isSegment)) return segments;
  throw new AirlockError('path.invalid', `${quote(name)} cannot be the name of a file of a bundle.`);
}

/** As `segmentsOf`, for the name of a folder. @throws path.invalid */
export function requireSegment(name: string): string {
  if (isSegment(name)) return name;
  throw new AirlockError('path.invalid', `${quote(name)} cannot be the name of a folder of a bundle.`);
}

/** Sorts out what a folder holds. */
export class ListingBuilder {
  readonly #where: string;
  readonly #files: { name: string; size: number }[] = [];
  readonly #folders: string[] = [];
  readonly #unfinished: string[] = [];
  readonly #ignored: { name: string; why: Strange }[] = [];
  #ignoredCount = 0;
  #count = 0;

  /** @param where for messages */
  constructor(where: string) {
    this.#where = where;
  }

  /**
   * @param size asked only for whole files
   * @throws bundle.invalid when there are too many
   */
  async add(name: string, kind: 'file' | 'folder' | 'link' | 'special', size: () => number | Promise<number>) {
    if (++this.#count > limits.carrier.entries) {
      throw new AirlockError(
        'bundle.invalid',
        `${quoteUnsafe(this.#where)} holds more than ${limits.carrier.entries} files: no bundle does. Put the bundle into a folder of its own.`,
      );
    }
    const whole = name.endsWith(PARTIAL) ? name.slice(0, -PARTIAL.length) : name;
    if (!isSegment(whole)) this.#ignore(name, 'name');
    else if (kind === 'link' || kind === 'special') this.#ignore(name, kind);
    else if (kind === 'folder') {
      if (whole === name) this.#folders.push(name);
      else this.#ignore(name, 'name');
    } else if (whole === name) this.#files.push({ name, size: await size() });
    else this.#unfinished.push(whole);
  }

  /** Sorted by name. */
  end(): Listing {
    return {
      files: this.#files.sort((a, b) => (a.name < b.name ? -1 : 1)),
      folders: this.#folders.sort(),
      unfinished: this.#unfinished.sort(),
      ignored: this.#ignored,
      ignoredCount: this.#ignoredCount,
    };
  }

  #ignore(name: string, why: Strange): void {
    if (++this.#ignoredCount <= limits.carrier.named) this.#ignored.push({ name, why });
  }
}

/**
 * How much of an unfinished file is surely good: a writer makes everything durable each time it has written another
 * `step` bytes, before it writes on.
 */
export function keptOf(size: number, step: number): number {
  return size === 0 ? 0 : Math.floor((size - 1) / step) * step;
}

/** @returns medium.full. @param free bytes, if known */
export function full(name: string, where: string, free: number | undefined, cause: unknown): AirlockError {
  const left = free === undefined ? '' : ` (${free} bytes are free)`;
  return new AirlockError(
    'medium.full',
    `${quoteUnsafe(where)} is full: ${name} does not fit${left}. Free some space there, or use another medium.`,
    { cause, details: { where, name, ...(free === undefined ? {} : { free }) } },
  );
}

/** What lies under a name, as the system or a server describes it. */
export interface Lying {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

export function kindOf(item: Lying): 'file' | 'folder' | 'link' | 'special' {
  if (item.isFile()) return 'file';
  if (item.isDirectory()) return 'folder';
  return item.isSymbolicLink() ? 'link' : 'special';
}

/** @throws bundle.invalid @param place for the message */
export function requireFolder(place: string, item: Lying): void {
  if (item.isDirectory()) return;
  const kind = item.isSymbolicLink() ? 'a symbolic link' : 'no folder';
  throw new AirlockError('bundle.invalid', `${quoteUnsafe(place)} is ${kind}. Put the folder itself there.`);
}

/** A folder stands where a file is to be written. @param place for the message */
export function inTheWay(place: string): AirlockError {
  return new AirlockError('bundle.invalid', `${quoteUnsafe(place)} is a folder, and in the way. Take it away.`);
}
