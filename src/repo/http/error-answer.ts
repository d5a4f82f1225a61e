/**
 * What a client is told of a failure: never a stack, never where something lies on our disk.
 */
import { AirlockError, type ErrorCode, storageFailure } from '../../errors.ts';
import { escapeHtml } from './escape-html.ts';
import { type Exchange, sendText } from './exchange.ts';
import { negotiate } from './negotiate.ts';
import { STATUS_CODES } from './node-http.ts';

/** Nothing can be written over HTTP. */
export const ALLOW = 'GET, HEAD, OPTIONS';

export interface PublicError {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Our own failures, in words for somebody who cannot see the server. */
const OWN_FAULTS: Partial<Record<ErrorCode, string>> = {
  'blob.damaged':
    'The stored copy of this file was found damaged, and is not served. Whoever runs this repository must import it again.',
  'blob.missing':
    'The stored copy of this file is not there any more. Whoever runs this repository must import it again.',
  interrupted: 'What you asked for changed while it was being read. Ask again.',
  'upstream.unreachable': 'This file is not kept here, and no source could be reached. Ask again later.',
  'upstream.failed': 'This file is not kept here, and its sources failed. Ask again later.',
  'upstream.unauthorized':
    'The source of this file refuses us. Whoever runs this server must check user name and password of the upstream.',
  'upstream.address-refused':
    'The source of this file leads to an address that this server must not reach. Its log says which.',
  'upstream.unusable':
    'What the source sent is not the file that was asked for, so it was thrown away. The log says why.',
  'upstream.signature': 'What vouches for this file bears a wrong signature, so it is not served. The log says which.',
  'upstream.changed': 'The file changed at its source while it was being fetched. Ask again.',
  'proxy.not-cached':
    'This file is not kept here, and the request, or the configuration of this server, forbids to fetch it.',
  'http.draining': 'This server is about to stop. Ask again, or ask another one.',
};

/** Failures of the client's are told in full; of our own only what the client can act on. */
export function publicError(error: unknown): PublicError {
  const known = error instanceof AirlockError ? error : unexpected(error);
  const { code, httpStatus: status } = known;
  if (status < 500) return { status, code, message: known.message, details: known.details };
  const message = OWN_FAULTS[code] ?? 'Something went wrong on this server. Its log says what.';
  return { status, code, message, details: {} };
}

/**
 * Answers with an error: JSON, HTML or plain text, whichever the client likes best. Where an answer has begun
 * already, the connection is cut, so that nobody takes a part for the whole.
 */
export function answerError(exchange: Exchange, error: unknown): void {
  const { request, response } = exchange;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const shown = publicError(error);
  const type = negotiate(request.headers.accept, ['application/json', 'text/html', 'text/plain']);
  sendText(exchange, shown.status, RENDER[type](shown), [
    'Content-Type',
    `${type}; charset=utf-8`,
    'Cache-Control',
    'no-store',
    'Vary',
    'Accept',
    'X-Content-Type-Options',
    'nosniff',
    ...fieldsOf(shown),
  ]);
}

/** What Express cannot read is the client's fault; everything else unexpected is ours. */
function unexpected(error: unknown): AirlockError {
  const isClients = error instanceof URIError || (error instanceof Error && 'status' in error && error.status === 400);
  return isClients
    ? new AirlockError('http.bad-request', 'The path of this request cannot be read.', { cause: error })
    : (storageFailure(error) ?? new AirlockError('internal', 'Unexpected failure.', { cause: error }));
}

/** Header fields that go with some errors. */
function fieldsOf({ code, details }: PublicError): string[] {
  if (code === 'http.range-not-satisfiable') return ['Content-Range', `bytes */${String(details.size)}`];
  if (code === 'http.method-not-allowed') return ['Allow', ALLOW];
  if (code === 'http.draining' || code === 'interrupted' || code === 'upstream.changed') return ['Retry-After', '1'];
  return [];
}

const RENDER = {
  'application/json': ({ code, message, details }: PublicError) =>
    `${JSON.stringify({ error: { code, message, details } })}\n`,
  'text/plain': ({ message }: PublicError) => `${message}\n`,
  'text/html': ({ status, message }: PublicError) => {
    const title = `${status} ${STATUS_CODES[status] ?? ''}`.trim();
    return `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>${title}</title></head>\n<body><h1>${title}</h1><p>${escapeHtml(message)}</p></body></html>\n`;
  },
};
