/** `keys init | show | sign | rotate | export-root | revoke`: the keys that sign bundles. */
import path from 'node:path';
import type { Command } from 'commander';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { Digest } from '../repo/blobs/blob-store.ts';
import { writeFileDurably } from '../repo/blobs/durable.ts';
import { exportRepositoryKey, importRepositoryKey, openRepositoryKey } from '../repo/formats/openpgp/repository-key.ts';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { readSmallFile } from '../repo/ingest/medium.ts';
import { refreshKeys } from '../repo/packages/change-packages.ts';
import { findDeletion } from '../repo/upkeep/delete-version.ts';
import { withdrawContent } from '../sync/bundle/withdraw.ts';
import { revoke } from '../sync/trust/published-revocations.ts';
import { Publisher, type PublisherFacts, type SigningOutcome } from '../sync/trust/publisher.ts';
import { action, appAction, appOptions, type Session, wholeNumber } from './command.ts';
import { requireFolderOf } from './destination.ts';

export function keysCommands(program: Command): void {
  const keys = program.command('keys').description('the keys that sign bundles');

  const init = keys
    .command('init')
    .description(
      'make all keys, once, on the export station; those of root and targets may be moved offline afterwards',
    )
    .option('--threshold <n>', 'how many of the root and targets keys must sign', wholeNumber)
    .option('--signers <m>', 'how many root and targets keys there are', wholeNumber)
    .addHelpText('after', '\nExample:\n  airlock keys init --threshold 2 --signers 3');
  action<[{ threshold?: number; signers?: number }]>(init, async (session, flags) => {
    const facts = await publisherOf(session).init(flags);
    return { json: facts, text: [...describe(facts), NEXT].join('\n') };
  });

  const show = keys
    .command('show')
    .description('list the roles, their keys, and which of them are here')
    .addHelpText('after', '\nExample:\n  airlock keys show');
  action(show, async (session) => {
    const facts = await publisherOf(session).facts();
    return { json: facts, text: describe(facts).join('\n') };
  });

  const sign = keys
    .command('sign')
    .argument('<file>', 'root or targets metadata that needs more signatures')
    .description('add the signatures of all keys that are here')
    .addHelpText('after', '\nExample:\n  airlock keys sign /media/stick/2.root.pending.json');
  action<[string]>(sign, async (session, file) => {
    const outcome = await publisherOf(session).sign(file);
    return { json: outcome, text: describeOutcome(outcome) };
  });

  const rotate = keys
    .command('rotate')
    .description('make new keys for snapshot, timestamp and every site; sites accept them with the next bundle')
    .option('--offline', 'also new keys for root and targets')
    .addHelpText('after', '\nExample:\n  airlock keys rotate');
  action<[{ offline?: boolean }]>(rotate, async (session, flags) => {
    const outcomes = await publisherOf(session).rotate(flags);
    return { json: outcomes, text: outcomes.map(describeOutcome).join('\n') };
  });

  const exportRoot = keys
    .command('export-root')
    .argument('<file>', 'where to write the root file, to be carried to sites by hand')
    .description('write the root file that sites trust')
    .addHelpText('after', '\nExample:\n  airlock keys export-root /media/stick/root.json');
  action<[string]>(exportRoot, async (session, file) => {
    await requireFolderOf(file);
    const publisher = publisherOf(session);
    const { bytes } = await publisher.root();
    const { fingerprint } = await publisher.facts();
    await writeFileDurably(path.resolve(file), bytes);
    return {
      json: { file: path.resolve(file), fingerprint },
      text: `${quoteUnsafe(file)} is written. At the site: airlock trust add ${quoteUnsafe(path.basename(file))} --site NAME\nIt must show this fingerprint there: ${fingerprint}`,
    };
  });

  revokeCommand(keys);
  repositoryKeyCommands(keys);
}

/** Two conductors that serve the same routers sign metadata with one key. */
function repositoryKeyCommands(keys: Command): void {
  const repository = keys.command('repository').description('the key that signs the metadata of RPM repositories');

  const exportKey = repository
    .command('export')
    .argument('<file>', 'where to write the private key; whoever has it can sign in the name of this conductor')
    .description('write the private key, for the other half of an HA pair')
    .addHelpText('after', '\nExample:\n  airlock keys repository export /media/stick/repository-key.asc');
  appAction<[string]>(exportKey, async ({ dataDir }, _session, file) => {
    await requireFolderOf(file);
    await writeFileDurably(path.resolve(file), Buffer.from(await exportRepositoryKey(dataDir)), { mode: 0o600 });
    const { fingerprint } = await openRepositoryKey(dataDir);
    return {
      json: { file: path.resolve(file), fingerprint },
      text: `${quoteUnsafe(file)} holds the private key ${fingerprint}. Carry it to the other conductor, import it there, and delete the file.`,
    };
  });

  const importKey = repository
    .command('import')
    .argument('<file>', 'a private key of "keys repository export"')
    .description('sign with this key from now on, and sign what is published again')
    .addHelpText('after', '\nExample:\n  airlock keys repository import /media/stick/repository-key.asc');
  appAction<[string]>(importKey, async ({ dataDir, ingest }, _session, file) => {
    const bytes = await readSmallFile(file, limits.keyFile, { otherwise: 'key.invalid' });
    if (bytes === undefined) throw new AirlockError('file.not-found', `There is no file ${quoteUnsafe(file)}.`);
    const { key, replaced } = await importRepositoryKey(dataDir, bytes);
    const revisions = await refreshKeys(await ingest(), 'keys repository import');
    const instead =
      replaced === null ? '' : ` instead of ${replaced}: clients that know only that one must be given the new key`;
    return {
      json: { fingerprint: key.fingerprint, replaced, revisions },
      text: `Metadata is signed with ${key.fingerprint} now${instead}.`,
    };
  });
}

function revokeCommand(keys: Command): void {
  const command = keys
    .command('revoke')
    .argument('<what>', 'a digest (sha256:…), or a version that is published here')
    .option('--reason <text>', 'why, for the people at the sites', 'revoked')
    .description('withdraw content here, and at every site with the next bundle')
    .addHelpText('after', '\nExample:\n  airlock keys revoke 6.2.5-5.r2.el7 --reason "faulty"');
  appAction<[string, { reason: string }]>(command, async (app, _session, what, { reason }) => {
    const isDigest = /^sha256:[0-9a-f]{64}$/.test(what);
    const content = isDigest
      ? [{ digest: what as Digest, name: what, reason }]
      : (await findDeletion(app.catalog, what)).entries.map(({ artifact: { digest, name } }) => ({
          digest,
          name,
          reason,
        }));
    const list = await revoke(app.dataDir, content);
    const digests = new Set(content.map(({ digest }) => digest));
    const withdrawn = await withdrawContent(await app.ingest(), digests, `revoke ${what}`);
    return {
      json: { version: list.version, revoked: content, withdrawn },
      text: [
        ...withdrawn.map(({ repository, path: at }) => `✔ ${quoteUnsafe(`${repository}/${at}`)} is withdrawn`),
        `${content.length} files are revoked. The next bundle takes them out at its site.`,
      ].join('\n'),
    };
  });
}

const NEXT =
  'Now: "airlock keys export-root FILE", and carry that file to each site by hand. Keep copies of the root and targets keys offline: whoever has them can sign in your name, and without them no site can be added.';

function publisherOf({ options }: Session): Publisher {
  return new Publisher({ dataDir: path.resolve(appOptions(options).dataDir), now: () => new Date() });
}

function describe({ fingerprint, rootVersion, rootExpires, roles, pending }: PublisherFacts): string[] {
  return [
    `Root ${rootVersion}, until ${rootExpires.slice(0, 10)}, fingerprint ${fingerprint}`,
    ...roles.map(({ role, threshold, keys }) => {
      const list = keys.map(({ id, file }) => `\n    ${id.slice(0, 16)}  ${file ?? '(not here)'}`);
      return `  ${role}: ${threshold} of ${keys.length} must sign${list.join('')}`;
    }),
    ...pending.map((file) => `${file} waits for more signatures: "airlock keys sign FILE" where the keys are.`),
  ];
}

function describeOutcome({ file, role, version, counts, complete, adopted, delegations }: SigningOutcome): string {
  const signed = counts.map(({ signed: by, threshold }) => `${by} of ${threshold}`).join(' and ');
  const what = `${role} ${version}: ${signed} signatures`;
  if (adopted && delegations?.adopted === false) {
    return `${what}. It is in force.\n${describeOutcome(delegations)}\nUntil then no bundle can be exported.`;
  }
  if (adopted) return `${what}. It is in force.`;
  return complete
    ? `${what}. ${quoteUnsafe(file)} is complete: take it back to the export station, and sign it there.`
    : `${what}. ${quoteUnsafe(file)} needs more: take it to where the other keys are, and sign it there.`;
}
