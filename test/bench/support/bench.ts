/** What a group of measurements gets, and what it gives. */
export interface Bench {
  /** Temporary folder for all files; removed at the end. */
  readonly dir: string;
  /** Fires at Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** How long one measurement of a rate takes. */
  readonly seconds: number;
  /** How often everybody has a turn. */
  readonly rounds: number;
  /** Progress, on standard error. */
  say(text: string): void;
}

export interface Group {
  readonly title: string;
  /** What the numbers are, in Markdown. */
  readonly about: string;
  /** Commands that must be there, as `needs` takes them. */
  readonly needs: readonly string[];
  /** @throws Error if any answer had wrong bytes, or if a program failed */
  run(bench: Bench): Promise<readonly Row[]>;
}

/** A line of the table. Texts are Markdown. */
export interface Row {
  readonly what: string;
  /** Empty: only shown. */
  readonly target: string;
  readonly result: string;
  /** Undefined where there is no target. */
  readonly isMet?: boolean;
  readonly airlock: string;
  readonly peer: string;
}
