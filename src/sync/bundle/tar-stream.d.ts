/** As much of tar-stream as is used here; it brings no types. */
declare module 'tar-stream' {
  import type { Readable, Writable } from 'node:stream';

  export interface EntryHeader {
    readonly name: string;
    /** Bytes. */
    readonly size?: number;
    readonly mode?: number;
    readonly mtime?: Date;
    readonly type?: string;
    readonly linkname?: string | null;
  }
  export interface Pack extends Readable {
    entry(header: EntryHeader, callback?: (error?: Error | null) => void): Writable;
    entry(header: EntryHeader, content: string | Buffer, callback?: (error?: Error | null) => void): Writable;
    finalize(): void;
  }
  export function pack(): Pack;
}
