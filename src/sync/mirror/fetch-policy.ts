/**
 * One policy text from its site. Its URL is mutable (vendor.md B4), so what it held last is known by validators: those that
 * are remembered of the path, or, after a new catalog or under another spelling of the host, those of the version.
 */
import { AirlockError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { digestOfBytes } from '../../repo/blobs/digest-of.ts';
import { parseHttpDate } from '../../repo/http/conditionals.ts';
import { requireSound } from '../../repo/policies/bring.ts';
import { isSameOrigin } from '../../repo/policies/text-origin.ts';
import { type PolicyVersion, versionsEver } from '../../repo/policies/versions.ts';
import { requireNotRevoked } from '../../repo/revoked.ts';
import type { UpstreamAnswer, UpstreamFacts } from '../../repo/upstream/upstream.ts';
import type { MirrorSite } from './rule.ts';

/** Where a text lies, and how it is called here. */
export interface PolicyPlace {
  /** Of the site, as in its URLs. */
  readonly path: string;
  readonly name: string;
}

/** What a site holds at a path. */
export interface FetchedPolicy {
  /** The version here that has these bytes, if this is what the path held last. */
  readonly known: PolicyVersion | undefined;
  /** Undefined: they were not sent, because nothing changed. */
  readonly bytes: Buffer | undefined;
  readonly etag: string | null;
  readonly modified: Date | null;
}

/** What was asked and read, counted on. */
export interface Traffic {
  requests: number;
  bytes: number;
}

/**
 * Asks for a text, and reads it whole if it is another one than last time.
 * @throws upstream.* (upstream.unusable for a web page), path.not-found, policy.empty, policy.limit, trust.revoked,
 *   interrupted
 */
export async function fetchPolicy(site: MirrorSite, place: PolicyPlace, traffic: Traffic): Promise<FetchedPolicy> {
  const { upstream, signal } = site;
  const last = await lastSeen(site, place);
  traffic.requests += 1;
  const answer = await upstream.fetch(place.path, { signal, ...(last === undefined ? {} : { unless: last }) });
  if (answer.type === 'missing') throw missing(site, place);
  if (answer.type === 'not-modified') {
    return { known: last?.version, bytes: undefined, etag: last?.etag ?? null, modified: last?.modified ?? null };
  }
  const bytes = await readText(site, place, answer, traffic);
  if (isWebPage(bytes, answer.facts)) throw webPage(site, place);
  requireSound({ name: place.name, bytes });
  const digest = digestOfBytes(bytes);
  requireNotRevoked(await site.ingest.revoked(), place.name, digest);
  const isSame = last?.version.digest === digest;
  const { etag, modified } = answer.facts;
  return { known: isSame ? last.version : undefined, bytes, etag, modified };
}

interface LastSeen {
  readonly version: PolicyVersion;
  readonly etag: string | null;
  readonly modified: Date | null;
}

/**
 * What the path held when it was last asked. That need not be what is published: somebody may have brought another text
 * since, or gone back to an older revision, and as long as the site's text does not change, this stays as it is.
 */
async function lastSeen({ ingest, memory, upstream }: MirrorSite, place: PolicyPlace): Promise<LastSeen | undefined> {
  const versions = await versionsEver(ingest.catalog, place.name);
  const remembered = await memory.get(place.path);
  const same = versions.findLast(({ digest }) => digest === remembered?.digest);
  if (remembered !== undefined && same !== undefined) {
    return { version: same, etag: remembered.etag, modified: remembered.modified };
  }
  const address = upstream.address(place.path);
  const version = versions.findLast(
    ({ origin }) => origin !== null && 'url' in origin && isSameOrigin(origin.url, address),
  );
  if (version === undefined) return undefined;
  const modified = parseHttpDate(version.validators.lastModified ?? '');
  return {
    version,
    etag: version.validators.etag ?? null,
    modified: modified === undefined ? null : new Date(modified),
  };
}

/** The body of an answer, within limits.policy.bytes. */
async function readText(
  site: MirrorSite,
  place: PolicyPlace,
  { body, facts: { size } }: Extract<UpstreamAnswer, { type: 'content' }>,
  traffic: Traffic,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    if (size !== null && size > limits.policy.bytes) throw tooLong(site, place);
    for await (const piece of body) {
      pieces.push(piece);
      length += piece.byteLength;
      traffic.bytes += piece.byteLength;
      if (length > limits.policy.bytes) throw tooLong(site, place);
      await site.bandwidth.take(piece.byteLength);
    }
  } finally {
    body.destroy();
  }
  if (size === null || size === length) return Buffer.concat(pieces);
  throw new AirlockError(
    'upstream.failed',
    `${site.upstream.address(place.path)} ended after ${length} of ${size} bytes. Nothing of it was kept; ask again.`,
  );
}

/** A login page, a captive portal, an error of the site: what comes in the place of a text with status 200. */
function isWebPage(bytes: Buffer, { mediaType }: UpstreamFacts): boolean {
  const start = bytes.subarray(0, 1024).toString('latin1').replace(/^ï»¿/, '').trimStart();
  if (/^<(?:!doctype|!--|html|head|body|\?xml)\b/i.test(start)) return true;
  return /^(?:text\/html|application\/xhtml\+xml)$/.test(mediaType ?? '') && start.startsWith('<');
}

function webPage(site: MirrorSite, { path, name }: PolicyPlace): AirlockError {
  return new AirlockError(
    'upstream.unusable',
    `What ${site.upstream.address(path)} answered is a web page and not the text of policy ${name}: a login page, a captive portal or an error of the site. Nothing of it was kept. Open the address in a browser, and see that it is still the right one.`,
    { details: { origin: site.upstream.origin } },
  );
}

function missing(site: MirrorSite, { path, name }: PolicyPlace): AirlockError {
  return new AirlockError(
    'path.not-found',
    `${site.upstream.address(path)} is not there (404). What is here of policy ${name} stays. Find out where its vendor has put it, and correct "path" of the rule.`,
    { details: { origin: site.upstream.origin } },
  );
}

function tooLong(site: MirrorSite, { path, name }: PolicyPlace): AirlockError {
  return new AirlockError(
    'policy.limit',
    `${site.upstream.address(path)} has more than ${limits.policy.bytes} bytes, which no policy has. Nothing of it was kept. See that this is the right address for policy ${name}.`,
    { details: { origin: site.upstream.origin } },
  );
}
