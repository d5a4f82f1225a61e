import type { Command } from 'commander';
import { AirlockError } from '../errors.ts';
import type { RepositoryKind } from '../repo/catalog/artifact.ts';
import type { Catalog, Entry, Repository } from '../repo/catalog/catalog.ts';
import { publishAgain } from '../repo/packages/publish-again.ts';
import { requireNotRevoked } from '../sync/bundle/revoked.ts';
import { appAction, PRINTED, wholeNumber } from './command.ts';
import { formatTable, formatTime, Table } from './format.ts';
import { printPieces } from './output.ts';
import { replicateCommand } from './replicate.ts';

const KINDS: readonly RepositoryKind[] = ['file', 'rpm', 'policy'];

/** `repo list | show | revisions | publish | create | replicate`. */
export function repoCommands(program: Command): void {
  const parent = program.command('repo').description('repositories and their revisions');

  const list = parent
    .command('list')
    .description('list the repositories')
    .addHelpText('after', '\nExample:\n  airlock repo list');
  appAction(list, async ({ catalog }) => {
    const repositories = await catalog.repositories();
    return {
      json: repositories,
      text: formatTable(
        ['Name', 'Kind', 'Revision'],
        repositories.map(({ name, kind, published }) => [name, kind, String(published)]),
      ),
    };
  });

  const show = parent
    .command('show')
    .argument('<name>')
    .description('show what a repository holds')
    .addHelpText('after', '\nExample:\n  airlock repo show images');
  appAction<[string]>(show, async ({ catalog }, { options }, name) => {
    const repository = await requireRepository(catalog, name);
    await printPieces(options.json === true ? shownAsJson(catalog, repository) : shownAsTable(catalog, repository));
    return PRINTED;
  });

  const revisions = parent
    .command('revisions')
    .argument('<name>')
    .description('list the revisions of a repository, newest first')
    .addHelpText('after', '\nExample:\n  airlock repo revisions images');
  appAction<[string]>(revisions, async ({ catalog }, _session, name) => {
    const { published } = await requireRepository(catalog, name);
    const all = await catalog.revisions(name);
    return {
      json: all.map((revision) => ({ ...revision, published: revision.number === published })),
      text: formatTable(
        ['Revision', 'Date', 'Added', 'Removed', 'Reason'],
        all.map(({ number, createdAt, put, removed, reason }) => [
          `${number}${number === published ? ' (published)' : ''}`,
          formatTime(createdAt),
          String(put),
          String(removed),
          reason,
        ]),
      ),
    };
  });

  const publish = parent
    .command('publish')
    .argument('<name>')
    .argument('<revision>', 'as "repo revisions" shows it', wholeNumber)
    .description('publish a new revision equal to an older one')
    .addHelpText('after', '\nExample:\n  airlock repo publish images 3');
  appAction<[string, number]>(publish, async ({ catalog, dataDir, ingest }, _session, name, revision) => {
    await requireNotRevoked({ catalog, dataDir }, name, revision);
    const published = await publishAgain(await ingest(), name, revision);
    return {
      json: { repository: name, published, equals: revision },
      text: `${name} is at revision ${published} now, equal to ${revision}.`,
    };
  });

  const create = parent
    .command('create')
    .argument('<name>')
    .requiredOption('--kind <kind>', KINDS.join(', '))
    .description('make an empty repository')
    .addHelpText('after', '\nExample:\n  airlock repo create tools --kind file');
  appAction<[string, { kind: string }]>(create, async ({ catalog }, _session, name, { kind }) => {
    const known = KINDS.find((each) => each === kind);
    if (known === undefined)
      throw new AirlockError(
        'usage.invalid',
        `A repository is of kind ${KINDS.join(', ')}, not ${JSON.stringify(kind)}.`,
      );
    if ((await catalog.repository(name)) !== undefined) {
      throw new AirlockError(
        'repository.exists',
        `There is a repository ${name} already. "airlock repo show ${name}" shows it.`,
      );
    }
    await catalog.transaction(async (tx) => {
      await tx.ensureRepository(name, known);
      // Only what has a revision is in the log, and so survives a rebuild of the catalog.
      await tx.publish(name, { reason: 'repo create' });
    });
    return { json: await catalog.repository(name), text: `Made the repository ${name}.` };
  });
  replicateCommand(parent);
}

/** As the document `{name, …, entries}`, an entry at a time: a repository may hold more than fits into memory. */
async function* shownAsJson(catalog: Catalog, repository: Repository): AsyncIterable<string> {
  yield `${JSON.stringify({ ...repository, entries: [] }, null, 2).replace(/\]\n\}$/, '')}`;
  let separator = '\n';
  for await (const { path, artifact, modified } of catalog.entries(repository.name, repository.published)) {
    const { digest, size, kind, verification } = artifact;
    yield separator +
      JSON.stringify({ path, kind, size, digest, modified, verification }, null, 2).replace(/^/gm, '    ');
    separator = ',\n';
  }
  yield `${separator === '\n' ? '' : '\n  '}]\n}\n`;
}

/** Goes through the entries twice: the first time for the widths of the columns. */
async function* shownAsTable(catalog: Catalog, { name, published }: Repository): AsyncIterable<string> {
  const table = new Table(['Path', 'Size', 'Verified', 'Digest']);
  const row = ({ path, artifact: { size, digest, verification } }: Entry) => [
    path,
    String(size),
    verification.status,
    digest,
  ];
  for await (const entry of catalog.entries(name, published)) table.measure(row(entry));
  yield `${table.head().join('\n')}\n`;
  for await (const entry of catalog.entries(name, published)) yield `${table.line(row(entry))}\n`;
}

async function requireRepository(catalog: Catalog, name: string): Promise<Repository> {
  const repository = await catalog.repository(name);
  if (repository !== undefined) return repository;
  throw new AirlockError(
    'repository.not-found',
    `There is no repository ${JSON.stringify(name)}. "airlock repo list" shows those there are.`,
  );
}
