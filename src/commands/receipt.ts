/** `receipt write | accept`: what a site holds, on its way back. */
import path from 'node:path';
import type { Command } from 'commander';
import { quoteUnsafe } from '../repo/formats/quote.ts';
import { type AcceptedReceipt, acceptReceipt, writeReceipt } from '../sync/receipts.ts';
import { Publisher } from '../sync/trust/publisher.ts';
import { siteTrust } from './bundle.ts';
import { appAction } from './command.ts';

export function receiptCommands(program: Command): void {
  const receipt = program.command('receipt').description('signed statements of what a site holds');

  const write = receipt
    .command('write')
    .requiredOption('--to <dir>', 'a folder of the medium that goes back')
    .description('at the site: write down, signed, what is here')
    .addHelpText('after', '\nExample:\n  airlock receipt write --to /media/stick');
  appAction<[{ to: string }]>(write, async (app, _session, { to }) => {
    const { dataDir, catalog } = app;
    const context = { dataDir, catalog, trust: siteTrust(app), now: () => new Date() };
    const written = await writeReceipt(context, path.resolve(to));
    return {
      json: written,
      text: `✔ ${quoteUnsafe(written.file)}: ${written.blobs} files of the site ${written.site}, sequence ${written.sequence}\nKey fingerprint of this site: ${written.fingerprint}`,
    };
  });

  const accept = receipt
    .command('accept')
    .argument('<files...>', 'receipts that came back')
    .description('on the export station: take note of what a site holds; the next bundle leaves it out')
    .addHelpText('after', '\nExample:\n  airlock receipt accept /media/stick/airlock-north-000003.receipt.json');
  appAction<[string[]]>(accept, async ({ dataDir }, _session, files) => {
    const sites = await new Publisher({ dataDir, now: () => new Date() }).sites();
    const accepted: AcceptedReceipt[] = [];
    for (const file of files) accepted.push(await acceptReceipt(dataDir, file, sites));
    return { json: accepted, text: accepted.flatMap(describe).join('\n') };
  });
}

const SAID = {
  accepted: 'accepted',
  present: 'is known already',
  older: 'is older than the one that is known: passed over',
};

function describe({ file, outcome, site, sequence, blobs, fingerprint, introduced }: AcceptedReceipt): string[] {
  return [
    `✔ ${quoteUnsafe(file)} ${SAID[outcome]}: the site ${site} holds ${blobs} files, sequence ${sequence}`,
    ...(introduced ? [`  It is the first of this site. Compare the fingerprint of its key: ${fingerprint}`] : []),
  ];
}
