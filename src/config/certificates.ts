/**
 * What the configuration may say of certificates: those of the server, and those with which we introduce ourselves to others.
 */
import { z } from 'zod';
import { file } from './values.ts';

/** With what the server introduces itself, and whom it lets in. */
export const tlsSection = z
  .strictObject({
    certificate: file.meta({
      description: 'The certificate of this server in PEM, and after it those that lead to its authority.',
      examples: ['keys/tls/server.pem'],
    }),
    key: file.meta({
      description: 'Its private key in PEM, without a passphrase.',
      examples: ['keys/tls/server.key'],
    }),
    clients: file.optional().meta({
      description: 'Certificates in PEM of those who vouch for clients. With it, clients are asked for a certificate.',
      examples: ['keys/tls/ca.pem'],
    }),
    requireClients: z
      .boolean()
      .optional()
      .meta({
        description:
          'Clients without a certificate get nothing; true by default once clients is named. With false, those without one are served, too, and those with one of a stranger are not.',
        examples: [true],
      }),
  })
  .superRefine(({ clients, requireClients }, context) => {
    if (requireClients !== true || clients !== undefined) return;
    context.addIssue({
      code: 'custom',
      path: ['requireClients'],
      message: 'says nothing without clients; name the certificates that vouch for them there',
    });
  });

/** A key of the configuration for a certificate of ours goes with one for its private key. */
export const identityKeys = {
  clientCertificate: file.optional().meta({
    description: 'Our own certificate, in PEM, for a server that asks for one.',
    examples: ['router-7.pem'],
  }),
  clientKey: file.optional().meta({
    description: 'The private key of clientCertificate, in PEM, without a passphrase.',
    examples: ['router-7.key'],
  }),
};

/** For `superRefine`: both of these, or none. */
export function requireWholeIdentity(
  { clientCertificate, clientKey }: { clientCertificate?: string | undefined; clientKey?: string | undefined },
  context: z.RefinementCtx,
): void {
  if ((clientCertificate === undefined) === (clientKey === undefined)) return;
  const [there, missing] =
    clientKey === undefined ? ['clientCertificate', 'clientKey'] : ['clientKey', 'clientCertificate'];
  context.addIssue({ code: 'custom', path: [there], message: `says nothing without ${missing}; name both, or none` });
}
