import type { Command } from 'commander';
import { describeReleases } from '../repo/available.ts';
import { appAction } from './command.ts';
import { formatTable, formatTime } from './format.ts';

/** `show system software available`. */
export function showCommands(program: Command): void {
  const command = program
    .command('show')
    .description('show things')
    .command('system')
    .command('software')
    .command('available')
    .description('list the releases that routers can get here, newest first')
    .addHelpText('after', '\nExample:\n  airlock --json show system software available');
  appAction(command, async ({ catalog }) => {
    const releases = describeReleases(await catalog.releases());
    const rows = releases.map(({ release, product, version, kind, channel, source, verification, file }) => [
      release,
      `${product}-${version}`,
      kind,
      channel,
      source,
      verification,
      file,
    ]);
    const table = formatTable(['Release', 'Version', 'Kind', 'Channel', 'Source', 'Verified by', 'File'], rows);
    return {
      json: releases,
      text:
        releases.length === 0
          ? 'No releases here yet. "airlock import iso hunt DIR" imports some.'
          : `${formatTime(new Date())}\n\n${table}`,
    };
  });
}
