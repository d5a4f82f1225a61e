import { escapeHtml } from '../../repo/http/escape-html.ts';
import type { ImportBundleReport } from './import-bundle.ts';

/** The report of an import as one page that needs nothing else: to print, sign and file. */
export function reportPage(report: ImportBundleReport): string {
  const { bundle, site, sequence, created, importedAt, manifest, signatures, volumes, blobs, repositories, revoked } =
    report;
  const { scan, rebuilt } = report;
  const facts: readonly (readonly [string, string])[] = [
    ['Site', site],
    ['Sequence', String(sequence)],
    ['Made', created],
    ['Imported', importedAt],
    ['Manifest (SHA-256)', manifest],
    ['Root of trust', `version ${signatures.rootVersion}`],
    ['Signed by keys', signatures.keys.join(', ')],
    ['Signature good until', signatures.expires],
    ...signatures.acceptedExpired.map((name) => ['Expired, and accepted on demand', name] as const),
    [
      'Read',
      `${blobs.bytes} bytes for ${blobs.read} files, ${blobs.made} of them made from deltas; ${blobs.present} were here or lie in images`,
    ],
    ...(rebuilt === null ? [] : [['Rebuilt', `${rebuilt.name}, which was ${rebuilt.why}`] as const]),
    ...volumes.map(({ name, where }) => ['Volume', `${name} (${where})`] as const),
    ...(scan === null
      ? []
      : [['Scanned', `${scan.files} new files, ${scan.bytes} bytes, accepted by ${scan.command.join(' ')}`] as const]),
  ];
  const rows = repositories.flatMap(({ repository, added, replaced }) => [
    ...added.map(({ path, digest }) => [repository, path, 'new', digest, '']),
    ...replaced.map(({ path, digest, former }) => [repository, path, 'replaced', digest, former]),
  ]);
  const gone = revoked.map(({ repository, path, digest }) => [repository, path, 'revoked', '', digest]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(bundle)}</title>
<style>body{font:10pt sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}pre{white-space:pre-wrap}td,th{border:1px solid #999;padding:.2em .5em;text-align:left;vertical-align:top;overflow-wrap:anywhere}</style></head>
<body><h1>${escapeHtml(bundle)}</h1>
<table>${facts.map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`).join('\n')}</table>
<table><tr><th>Repository</th><th>Path</th><th>What</th><th>Digest</th><th>Before</th></tr>
${[...rows, ...gone].map((cells) => `<tr>${cells.map((cell) => `<td>${escapeHtml(cell ?? '')}</td>`).join('')}</tr>`).join('\n')}
</table>${scan === null ? '' : scannerSaid(scan)}</body></html>
`;
}

function scannerSaid({ output, cut }: NonNullable<ImportBundleReport['scan']>): string {
  return `<h2>What the scanner said${cut ? ', its end' : ''}</h2><pre>${escapeHtml(output)}</pre>`;
}
