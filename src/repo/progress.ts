/** How long work tells whoever waits how far it has come. */
export interface Progress {
  /** Begins a piece of work. @param total bytes, undefined if nobody knows */
  start(label: string, total?: number): void;
  /** @param bytes done since the last call */
  advance(bytes: number): void;
  /** The piece is done, or given up. */
  stop(): void;
  /** A line for the person in front, whatever is being drawn. */
  note(line: string): void;
}

export const silent: Progress = { start() {}, advance() {}, stop() {}, note() {} };
