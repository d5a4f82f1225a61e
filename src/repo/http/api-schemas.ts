/**
 * The answers of the API, as schemas: they shape what is sent, and are what `/api/v1/openapi.json` says.
 */
import { z } from 'zod';

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const size = z.int().nonnegative().describe('Bytes.');
const instant = z.iso.datetime();
const status = z.enum(['signature', 'checksum', 'unverified']).describe('How far the origin is proven.');

export const release = z.object({
  release: z.string(),
  version: z.string(),
  product: z.string(),
  kind: z.enum(['image', 'package']),
  arch: z.string().nullable(),
  dist: z.string().nullable(),
  file: z.string(),
  repository: z.string(),
  path: z.string(),
  size,
  digest,
  channel: z.string(),
  source: z.string(),
  verification: status,
});

export const releases = z.array(release);

export const repository = z.object({
  name: z.string(),
  kind: z.enum(['file', 'rpm', 'policy']),
  published: z.int().nonnegative().describe('The published revision; 0 while nothing was published.'),
  createdAt: instant,
});

export const repositories = z.array(repository);

export const repositoryWithRevisions = repository.extend({
  revisions: z
    .array(
      z.object({
        number: z.int().positive(),
        createdAt: instant,
        reason: z.string(),
        put: z.int().nonnegative(),
        removed: z.int().nonnegative(),
      }),
    )
    .describe('Newest first.'),
});

const check = z.object({
  check: z.enum(['length', 'checksum', 'digest', 'signature']),
  result: z.enum(['passed', 'failed', 'missing', 'unknown-key', 'does-not-apply', 'not-checked']),
  file: z.string().optional(),
  covers: z.array(z.enum(['header', 'payload'])).optional(),
  algorithm: z.string().optional(),
  weak: z.literal(true).optional().describe('By an algorithm for which bytes can be forged.'),
  waived: z.literal(true).optional().describe('Nothing better covers these parts; accepted all the same.'),
  keyId: z.string().optional(),
  fingerprint: z.string().optional(),
  userId: z.string().optional(),
  signedAt: instant.optional(),
  note: z.string().optional(),
});

export const artifact = z.object({
  digest,
  size,
  storedSince: instant,
  verifiedAt: instant.nullable().describe('When the stored bytes were last hashed.'),
  published: z
    .array(
      z.object({
        repository: z.string(),
        path: z.string(),
        revision: z.int().positive().describe('The revision that put it there.'),
        modified: instant,
        name: z.string(),
        kind: z.enum(['image', 'rpm', 'policy', 'file']),
        channel: z.string(),
        source: z.string(),
        facts: z.record(z.string(), z.json()),
        verification: z.object({ status, checks: z.array(check) }),
      }),
    )
    .describe('Every place where the published revisions hold these bytes.'),
});

export const error = z.object({
  error: z.object({ code: z.string(), message: z.string(), details: z.record(z.string(), z.unknown()) }),
});
