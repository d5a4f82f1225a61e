/**
 * Answers requests for content: the short way from a request to the socket.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { AirlockError } from '../../errors.ts';
import type { ArtifactFacts, ArtifactSource, MemoryBody, OpenArtifact, OpenOptions } from '../artifact-source.ts';
import type { ByteRange } from '../blobs/blob-store.ts';
import { type Segment, writeBody } from './body-writer.ts';
import type { BufferPool } from './buffer-pool.ts';
import { evaluateConditions, rangeApplies } from './conditionals.ts';
import type { Exchange } from './exchange.ts';
import { type ContentHeaders, contentHeaders } from './headers.ts';
import { parseRange } from './ranges.ts';

/**
 * The commonest request of all: GET of a whole file, in memory, without conditions. Everything happens at once.
 * @param path as it stands in the request, which is the decoded path only where nothing in it is encoded
 * @returns false if this is not such a request, and nothing was done
 */
export function answerAtOnce(source: ArtifactSource, path: string, exchange: Exchange): boolean {
  const { request, response } = exchange;
  if (/[%?#\\]/.test(path) || hasConditions(request.headers)) return false;
  const artifact = source.peek?.(path);
  if (artifact?.body === undefined) return false;
  const { facts, headers = [] } = artifact;
  exchange.kind = 'content';
  exchange.cache = headers[3]; // Cache-Status
  response.writeHead(
    200,
    headers.length === 0 ? contentHeaders(facts).whole : [...contentHeaders(facts).whole, ...headers],
  );
  sendFromMemory(exchange, artifact.body);
  return true;
}

/** Fields that ask for more than the plain content, or for what is current, or bring a body. */
function hasConditions(headers: IncomingHttpHeaders): boolean {
  return (
    headers['content-length'] !== undefined ||
    headers['transfer-encoding'] !== undefined ||
    headers.range !== undefined ||
    headers['cache-control'] !== undefined ||
    headers['if-none-match'] !== undefined ||
    headers['if-modified-since'] !== undefined ||
    headers['if-match'] !== undefined ||
    headers['if-unmodified-since'] !== undefined
  );
}

/**
 * Answers GET or HEAD with what a source has at a path.
 * @returns false if the source has nothing there, and nothing was done
 * @throws what the source throws, http.precondition-failed, http.range-not-satisfiable; once the head is sent,
 *   the response must be destroyed
 */
export async function answerContent(
  source: ArtifactSource,
  path: string,
  exchange: Exchange,
  pool: BufferPool,
): Promise<boolean> {
  const { request, response } = exchange;
  const gone = new AbortController();
  // Not when all went well: an abort makes an error with its stack, as dear as the rest of a 304.
  response.once('close', () => response.writableFinished || gone.abort());
  const isHead = request.method === 'HEAD';
  const range = isHead ? undefined : firstRange(request.headers.range);
  const { 'cache-control': cacheControl, via } = request.headers;
  const options = {
    signal: gone.signal,
    factsOnly: isHead,
    client: exchange.remote,
    ...(range === undefined ? {} : { range }),
    ...(cacheControl === undefined ? {} : { cacheControl }),
    ...(via === undefined ? {} : { via }),
  };
  const artifact = await source.open(path, options);
  if (artifact === undefined) return false;
  try {
    await answer(artifact, exchange, pool);
  } finally {
    await artifact.close();
  }
  return true;
}

async function answer(artifact: OpenArtifact, exchange: Exchange, pool: BufferPool): Promise<void> {
  const { request, response } = exchange;
  const { facts } = artifact;
  exchange.cache = artifact.headers?.[3]; // Cache-Status
  const headers = contentHeaders(facts);
  const verdict = evaluateConditions(request.headers, facts);
  if (verdict === 'failed') throw preconditionFailed();
  const plan = verdict === 'not-modified' ? planNothing(headers) : planContent(request, headers, facts);
  const begin = () => response.writeHead(plan.status, [...plan.headers, ...(artifact.headers ?? [])]);
  if (verdict === 'not-modified' || request.method === 'HEAD') {
    begin();
    response.end();
    return;
  }
  const [only, ...others] = plan.segments;
  if (artifact.body !== undefined && others.length === 0 && only !== undefined && !Buffer.isBuffer(only)) {
    begin();
    sendFromMemory(exchange, artifact.body, only);
  } else {
    await writeBody(exchange, artifact, plan.segments, pool, begin);
  }
}

/** One write where it can be. A body that a slow client keeps in memory is counted until it is gone. */
function sendFromMemory(exchange: Exchange, body: MemoryBody, range?: ByteRange): void {
  const { response } = exchange;
  const isWhole = range === undefined || range.end - range.start === body.bytes.length;
  exchange.bytes += isWhole ? body.bytes.length : range.end - range.start;
  if (isWhole && body.text !== null) response.end(body.text, 'latin1');
  else response.end(isWhole ? body.bytes : body.bytes.subarray(range.start, range.end));
  if (isSent(response)) return;
  const release = body.hold();
  response.once('close', release);
}

/** Whether the system has taken everything that was written to an ended response. */
export function isSent(response: ServerResponse): boolean {
  return response.socket?.writableLength === 0;
}

interface Plan {
  readonly status: number;
  readonly headers: readonly string[];
  readonly segments: readonly Segment[];
}

function planNothing({ notModified }: ContentHeaders): Plan {
  return { status: 304, headers: notModified, segments: [] };
}

/** @throws http.range-not-satisfiable */
function planContent(request: IncomingMessage, headers: ContentHeaders, facts: ArtifactFacts): Plan {
  const ranges = request.method === 'GET' ? wantedRanges(request.headers, facts) : undefined;
  if (ranges === 'unsatisfiable') throw notSatisfiable(facts);
  return ranges === undefined ? planWhole(headers, facts) : planParts(ranges, headers, facts);
}

function planWhole(headers: ContentHeaders, { size }: ArtifactFacts): Plan {
  const segments = size === 0 ? [] : [{ start: 0, end: size ?? Number.POSITIVE_INFINITY }];
  return { status: 200, headers: headers.whole, segments };
}

function planParts(ranges: readonly ByteRange[], headers: ContentHeaders, { size }: ArtifactFacts): Plan {
  const contentRange = ({ start, end }: ByteRange) => `bytes ${start}-${end - 1}/${size}`;
  const [only, ...others] = ranges;
  if (only !== undefined && others.length === 0) {
    const length = String(only.end - only.start);
    const own = ['Content-Type', headers.mediaType, 'Content-Length', length, 'Content-Range', contentRange(only)];
    return { status: 206, headers: [...own, ...headers.common], segments: ranges };
  }
  const boundary = randomBytes(18).toString('base64url');
  const segments: Segment[] = [];
  let length = 0;
  for (const [index, range] of ranges.entries()) {
    const head = Buffer.from(
      `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${headers.mediaType}\r\nContent-Range: ${contentRange(range)}\r\n\r\n`,
    );
    segments.push(head, range);
    length += head.length + range.end - range.start;
  }
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  segments.push(tail);
  const own = [
    'Content-Type',
    `multipart/byteranges; boundary=${boundary}`,
    'Content-Length',
    String(length + tail.length),
  ];
  return { status: 206, headers: [...own, ...headers.common], segments };
}

/** @returns undefined where all of the content is to be sent */
function wantedRanges(
  headers: IncomingHttpHeaders,
  facts: ArtifactFacts,
): readonly ByteRange[] | 'unsatisfiable' | undefined {
  const field = headers.range;
  if (field === undefined || facts.size === null) return undefined;
  const ifRange = headers['if-range'];
  if (!rangeApplies(Array.isArray(ifRange) ? ifRange.join(', ') : ifRange, facts)) return undefined;
  const parsed = parseRange(field, facts.size);
  if (parsed.type === 'unsatisfiable') return 'unsatisfiable';
  return parsed.type === 'ranges' ? parsed.ranges : undefined;
}

/** What a source can know of the first range before anybody knows the size. */
function firstRange(field: string | undefined): OpenOptions['range'] {
  const match = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})(?:[ \t,]|$)/i.exec(field ?? '');
  if (match === null) return undefined;
  const [, first = '', last = ''] = match;
  if (first === '') return last === '' ? undefined : { suffix: Number(last) };
  return last === '' ? { start: Number(first) } : { start: Number(first), end: Number(last) + 1 };
}

function preconditionFailed(): AirlockError {
  return new AirlockError(
    'http.precondition-failed',
    'The file here is not the one that the request asks for. Fetch it anew.',
  );
}

/** `details.size` becomes Content-Range of the answer. */
function notSatisfiable({ size }: ArtifactFacts): AirlockError {
  return new AirlockError(
    'http.range-not-satisfiable',
    `The file has ${size} bytes, and none in the range asked for.`,
    {
      details: { size },
    },
  );
}
