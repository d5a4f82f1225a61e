/** systemd as an installer sees it, on a private system. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { PrivateSystem } from './private-system.ts';

/** Of a private system: what stands in the place of systemd, and of the service that it runs. */
export class FakeService {
  readonly #system: PrivateSystem;

  private constructor(system: PrivateSystem) {
    this.#system = system;
  }

  static async make(system: PrivateSystem): Promise<FakeService> {
    await mkdir(system.at('/run/systemd/system'), { recursive: true });
    const programs = {
      // It runs as long as it was not asked so often, and says how often it had to be started anew.
      systemctl: [
        'case $1 in',
        '  is-active) echo >>/run/asked; [ "$(wc -l </run/asked)" -le "$(cat /run/up-for)" ] ;;',
        '  show) echo "NRestarts=$(cat /run/restarts)" ;;',
        '  *) echo "$@" >>/run/done; [ "$1" != "$(cat /run/fails)" ] ;;',
        'esac',
      ],
      sleep: ['exit 0'],
    };
    for (const [name, lines] of Object.entries(programs)) {
      await writeFile(system.at(`/usr/local/bin/${name}`), ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
    }
    return new FakeService(system);
  }

  /**
   * How the service is while install.sh works.
   * @param upFor so many looks find it running; restarts: it was started anew so often; fails: what systemctl cannot do
   */
  async is({ upFor, restarts = 0, fails = '' }: { upFor: number; restarts?: number; fails?: string }): Promise<void> {
    for (const name of ['asked', 'done']) await rm(this.#system.at(`/run/${name}`), { force: true });
    for (const [name, what] of Object.entries({ 'up-for': upFor, restarts, fails })) {
      await writeFile(this.#system.at(`/run/${name}`), `${what}\n`);
    }
  }

  /** What systemctl was asked to do since. */
  async asked(): Promise<string[]> {
    const lines = await readFile(this.#system.at('/run/done'), 'utf8').catch(() => '');
    return lines.split('\n').filter((line) => line !== '');
  }

  async remove(): Promise<void> {
    await rm(this.#system.at('/run/systemd'), { recursive: true });
    for (const name of ['systemctl', 'sleep']) await rm(this.#system.at(`/usr/local/bin/${name}`));
  }
}
