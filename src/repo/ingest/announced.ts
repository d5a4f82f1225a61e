/** What is known of a file before its bytes are looked at, wherever it comes from. */
import type { Json } from '../catalog/artifact.ts';
import type { FoundSidecars } from './sidecars.ts';

/** Who brought a file, as its artifact says it. */
export interface Bringer {
  readonly channel: string;
  readonly source: string;
  /** Kept with the artifact, so that whoever brought it knows it again. A person's import takes it away. */
  readonly mark?: Json;
}

/** A file of which all but the bytes is known. */
export interface Announced {
  /** For messages: where it comes from. */
  readonly file: string;
  /** Without folders. Data, never a path of ours. */
  readonly name: string;
  /** Last change, milliseconds since the epoch. */
  readonly mtime: number;
  readonly found: FoundSidecars;
  readonly bringer: Bringer;
}

/** In the facts of an artifact: the mark of its bringer. */
export const BROUGHT_BY = 'broughtBy';
