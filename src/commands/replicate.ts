import type { Command } from 'commander';
import { AirlockError, EXIT } from '../errors.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { appAction } from './command.ts';

/** `repo replicate`: one look at the HA twin. A server with `peer` in its configuration does it by itself. */
export function replicateCommand(parent: Command): void {
  const command = parent
    .command('replicate')
    .description('take over once what the other conductor of an HA pair has (a running server does so all the time)')
    .option('--from <url>', 'of the other conductor (default: peer of the configuration)')
    .addHelpText('after', '\nExample:\n  airlock repo replicate --from http://conductor-b:8480');
  appAction<[{ from?: string }]>(command, async (app, { signal, progress }, { from }) => {
    const { dataDir, config } = app;
    const url = from ?? config.peer;
    if (url === undefined) {
      throw new AirlockError('usage.invalid', 'Name the other conductor: --from URL, or "peer" in the configuration.');
    }
    const { lockReplica, openPeer } = await import('../app/replica.ts');
    const { Peer } = await import('../sync/replica/peer.ts');
    const { Replicator } = await import('../sync/replica/replicator.ts');
    const lock = lockReplica(dataDir);
    const upstream = await openPeer(dataDir, { ...config, peer: url });
    try {
      const { revokedHere } = await import('../sync/bundle/revoked.ts');
      const peer = new Peer(upstream);
      const replicator = new Replicator({ context: () => app.ingest(), peer, revoked: () => revokedHere(dataDir) });
      const { changes } = await replicator.round({ signal, progress });
      const { conflicts, keys, failures } = replicator.standing;
      const lines = [
        ...changes.map(
          ({ repository, taken, dropped, revision }) =>
            `✔ ${repository} is at revision ${revision}: ${taken} taken over, ${dropped} deleted`,
        ),
        ...conflicts.map(
          ({ repository, path, here, there }) =>
            `✖ ${quoteUnsafe(`${repository}/${path}`)} holds ${here} here and ${there} there: delete the wrong one, on its side`,
        ),
        ...keys.map(
          ({ repository, here, there }) => `! ${repository} is signed with ${here} here and with ${there} there`,
        ),
        ...failures.map(({ repository, message }) => `✖ ${repository}: ${message}`),
      ];
      const first = failures[0];
      return {
        json: { peer: url, changes, conflicts, keys, failures },
        text: lines.length === 0 ? `In step with ${url}.` : lines.join('\n'),
        exitCode: first !== undefined ? new AirlockError(first.code, '').exitCode : exitCode(conflicts.length),
      };
    } finally {
      upstream.close();
      lock.release();
    }
  });
}

function exitCode(conflicts: number): number {
  return conflicts > 0 ? EXIT.refused : EXIT.done;
}
