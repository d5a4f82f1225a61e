import type { Command } from 'commander';
import { AirlockError } from '../errors.ts';
import { limits } from '../limits.ts';
import type { VendorKeyFacts } from '../repo/formats/openpgp/key-files.ts';
import { addVendorKey, listVendorKeys, removeVendorKey } from '../repo/formats/openpgp/vendor-keys.ts';
import { quote, quoteUnsafe } from '../repo/formats/quote.ts';
import { readSmallFile } from '../repo/ingest/medium.ts';
import { refreshKeys } from '../repo/packages/change-packages.ts';
import type { TrustFacts } from '../sync/trust/site-trust.ts';
import { siteTrust } from './bundle.ts';
import { appAction } from './command.ts';

/** `trust add | show`, `trust vendor-key add | list | remove`. */
export function trustCommands(program: Command): void {
  const trust = program.command('trust').description('whom this site trusts');
  rootCommands(trust);
  const keys = trust.command('vendor-key').description('OpenPGP keys of vendors');

  const add = keys
    .command('add')
    .argument('<file>', 'a public key file, armoured or binary')
    .option('--fingerprint <fingerprint>', 'take only the key with this full fingerprint')
    .description('trust the keys of a file; compare the fingerprints shown with what the vendor publishes')
    .addHelpText('after', '\nExample:\n  airlock trust vendor-key add RPM-GPG-KEY-vendor');
  appAction<[string, { fingerprint?: string }]>(add, async ({ dataDir, ingest }, _session, file, flags) => {
    const bytes = await readSmallFile(file, limits.keyFile, { otherwise: 'key.invalid' });
    if (bytes === undefined) throw new AirlockError('file.not-found', `There is no file ${quoteUnsafe(file)}.`);
    const added = await addVendorKey(dataDir, bytes, flags);
    await refreshKeys(await ingest(), 'trust vendor-key add');
    return { json: added, text: added.map((key) => `Trusting ${describe(key)}`).join('\n') };
  });

  const list = keys
    .command('list')
    .description('list the trusted keys')
    .addHelpText('after', '\nExample:\n  airlock trust vendor-key list');
  appAction(list, async ({ dataDir }) => {
    const known = await listVendorKeys(dataDir);
    return {
      json: known,
      text:
        known.length === 0
          ? 'No vendor keys yet. "airlock trust vendor-key add FILE" adds some.'
          : known.map(describe).join('\n'),
    };
  });

  const remove = keys
    .command('remove')
    .argument('<fingerprint>')
    .description('trust a key no longer; what it verified before stays verified')
    .addHelpText('after', '\nExample:\n  airlock trust vendor-key remove 2A0F58C3C1B7A4F1D3B0F0A1E6F1B5C9D7E8F901');
  appAction<[string]>(remove, async ({ dataDir, ingest }, _session, fingerprint) => {
    await removeVendorKey(dataDir, fingerprint);
    await refreshKeys(await ingest(), 'trust vendor-key remove');
    return { json: { removed: fingerprint }, text: `${fingerprint} is trusted no longer.` };
  });
}

function rootCommands(trust: Command): void {
  const add = trust
    .command('add')
    .argument('<file>', 'the root file of an export station ("airlock keys export-root"), carried over by hand')
    .option('--site <name>', 'the name of this site')
    .option('--restored', 'go on in a catalog that was restored from a backup')
    .description('trust the bundles of an export station; compare the fingerprint with the one shown there')
    .addHelpText('after', '\nExample:\n  airlock trust add root.json --site north');
  appAction<[string, { site?: string; restored?: boolean }]>(add, async (app, _session, file, flags) => {
    const bytes = await readSmallFile(file, limits.trust.rootBytes, { otherwise: 'trust.invalid' });
    if (bytes === undefined) throw new AirlockError('file.not-found', `There is no file ${quoteUnsafe(file)}.`);
    const facts = await siteTrust(app).add(bytes, flags);
    return {
      json: facts,
      text: `${describeTrust(facts)}\nCompare the fingerprint with what "airlock keys show" says on the export station.`,
    };
  });

  const show = trust
    .command('show')
    .description('show the root of trust, and the newest bundle that landed')
    .addHelpText('after', '\nExample:\n  airlock trust show');
  appAction(show, async (app) => {
    const facts = await siteTrust(app).facts();
    return { json: facts, text: describeTrust(facts) };
  });
}

function describeTrust({ site, rootVersion, rootFingerprint, rootExpires, landed }: TrustFacts): string {
  return [
    `Root ${rootVersion}, until ${rootExpires.slice(0, 10)}, fingerprint ${rootFingerprint}`,
    site === null ? 'This site has no name yet: the first bundle gives it one.' : `This site is called ${site}.`,
    landed === null ? 'No bundle has landed yet.' : `Bundle ${landed.sequence} landed on ${landed.at.slice(0, 10)}.`,
  ].join('\n');
}

function describe({ fingerprint, userIds, algorithm, expires, revoked }: VendorKeyFacts): string {
  const until = expires === null ? '' : `, until ${expires.toISOString().slice(0, 10)}`;
  return `${fingerprint}  ${quote(userIds[0] ?? 'without a name')} (${algorithm}${until}${revoked === null ? '' : ', revoked'})`;
}
