import type { Command } from 'commander';
import type { App } from '../app.ts';
import { AirlockError } from '../errors.ts';
import { type AvailableRelease, describeReleases } from '../repo/available.ts';
import type { LocatedRelease } from '../sync/replica/locations.ts';
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
    .description('list the releases that routers can get here and at the HA peer, newest first')
    .addHelpText('after', '\nExample:\n  airlock --json show system software available');
  appAction(command, async (app, { signal }) => {
    const { locate } = await import('../sync/replica/locations.ts');
    const { releases: there, trouble } = await atPeer(app, signal);
    const releases = locate(describeReleases(await app.catalog.releases()), there);
    return { json: releases, text: describe(releases, { hasPeer: there !== null, trouble }) };
  });
}

interface AtPeer {
  /** Null: there is no peer. Undefined: it could not be asked. */
  readonly releases: readonly AvailableRelease[] | undefined | null;
  /** Why it could not be asked. */
  readonly trouble?: string;
}

async function atPeer({ config, dataDir }: App, signal: AbortSignal): Promise<AtPeer> {
  const { peer } = config;
  if (peer === undefined) return { releases: null };
  const { openPeer } = await import('../app/replica.ts');
  const { releasesAt } = await import('../sync/replica/locations.ts');
  const upstream = await openPeer(dataDir, { ...config, peer });
  try {
    return { releases: await releasesAt(upstream, signal) };
  } catch (error) {
    if (!(error instanceof AirlockError) || error.code === 'interrupted') throw error;
    return { releases: undefined, trouble: `The peer ${peer} could not be asked: ${error.message}` };
  } finally {
    upstream.close();
  }
}

function describe(
  releases: readonly LocatedRelease[],
  { hasPeer, trouble }: { hasPeer: boolean; trouble: string | undefined },
): string {
  const note = trouble === undefined ? '' : `\n\n${trouble}`;
  if (releases.length === 0) return `No releases here yet. "airlock import iso hunt DIR" imports some.${note}`;
  const rows = releases.map((each) => [
    each.release,
    `${each.product}-${each.version}`,
    each.kind,
    each.channel,
    each.source,
    each.verification,
    ...(hasPeer ? [where(each)] : []),
    each.file,
  ]);
  const columns = ['Release', 'Version', 'Kind', 'Channel', 'Source', 'Verified by'];
  const table = formatTable([...columns, ...(hasPeer ? ['Where'] : []), 'File'], rows);
  return `${formatTime(new Date())}\n\n${table}${note}`;
}

function where({ locations, unknownAt }: LocatedRelease): string {
  if (unknownAt !== undefined) return 'here, peer unknown';
  return locations.length === 2 ? 'both' : locations[0] === 'here' ? 'here only' : 'peer only';
}
