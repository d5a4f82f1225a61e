import type { WriteStream } from 'node:tty';
import { Presets, SingleBar } from 'cli-progress';
import { escapeControls } from '../repo/formats/quote.ts';
import type { Progress } from '../repo/progress.ts';
import { formatBytes } from './format.ts';

const LINE_EVERY = 5_000;

/** A bar on a terminal, a line every few seconds elsewhere. */
export function terminalProgress(stream: WriteStream): Progress {
  return stream.isTTY ? bar(stream) : lines(stream);
}

function bar(stream: WriteStream): Progress {
  let drawn: SingleBar | undefined;
  let speed: Speed | undefined;
  const stop = () => {
    process.off('exit', stop);
    drawn?.stop();
    drawn = undefined;
  };
  return {
    start(label, total) {
      stop();
      process.once('exit', stop); // the cursor is hidden while a bar is drawn
      speed = new Speed(total);
      drawn = new SingleBar(
        {
          stream,
          // `{eta}` is the library's own: a bare number of seconds.
          format: total === undefined ? '{done} {speed} {label}' : '{bar} {percentage}% {speed} {left} {label}',
          barsize: 20,
          hideCursor: true,
          clearOnComplete: true,
          stopOnComplete: false,
        },
        Presets.shades_classic,
      );
      drawn.start(total ?? 0, 0, { label: escapeControls(label), ...facts(speed) });
    },
    advance(bytes) {
      speed?.add(bytes);
      if (speed !== undefined) drawn?.increment(bytes, facts(speed));
    },
    stop,
    note(line) {
      // In the place of the bar, which draws itself again below.
      stream.write(`${drawn === undefined ? '' : '\r\u001b[K'}${escapeControls(line)}\n`);
    },
  };
}

function facts(speed: Speed): { done: string; speed: string; left: string } {
  return { done: speed.done(), speed: speed.rate(), left: speed.eta() };
}

function lines(stream: NodeJS.WritableStream): Progress {
  let name = '';
  let speed: Speed | undefined;
  let last = 0;
  return {
    start(label, total) {
      name = escapeControls(label);
      speed = new Speed(total);
      last = Date.now();
    },
    advance(bytes) {
      speed?.add(bytes);
      if (speed === undefined || Date.now() - last < LINE_EVERY) return;
      last = Date.now();
      stream.write(`${name}: ${speed.done()}, ${speed.rate()}, ${speed.eta()}\n`);
    },
    stop() {
      speed = undefined;
    },
    note(line) {
      stream.write(`${escapeControls(line)}\n`);
    },
  };
}

/** Bytes done of a total, and what follows from the clock. */
class Speed {
  readonly #total: number | undefined;
  readonly #start = performance.now();
  #bytes = 0;

  constructor(total: number | undefined) {
    this.#total = total;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  done(): string {
    return this.#total === undefined
      ? formatBytes(this.#bytes)
      : `${formatBytes(this.#bytes)} of ${formatBytes(this.#total)}`;
  }

  rate(): string {
    return `${formatBytes(this.#perSecond())}/s`;
  }

  eta(): string {
    if (this.#total === undefined || this.#bytes === 0) return 'ETA unknown';
    const seconds = Math.max(0, Math.round((this.#total - this.#bytes) / this.#perSecond()));
    const [minutes, rest] = [Math.floor(seconds / 60), String(seconds % 60).padStart(2, '0')];
    return `ETA ${minutes}:${rest}`;
  }

  #perSecond(): number {
    return this.#bytes / Math.max(0.001, (performance.now() - this.#start) / 1000);
  }
}
