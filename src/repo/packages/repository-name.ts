import { AirlockError } from '../../errors.ts';

/**
 * The repository of a distribution and architecture: `ssr-el7-x86_64`.
 * @throws usage.invalid
 */
export function rpmRepositoryName(distribution: string, architecture: string): string {
  if (!/^[a-z][a-z0-9]{0,31}$/.test(distribution)) {
    throw new AirlockError(
      'usage.invalid',
      `${JSON.stringify(distribution)} is no distribution. Name it as package names do: el7, el8, el9.`,
    );
  }
  if (!/^[a-z0-9_]{1,32}$/.test(architecture)) {
    throw new AirlockError(
      'usage.invalid',
      `${JSON.stringify(architecture)} is no architecture. Name it as package names do: x86_64, aarch64.`,
    );
  }
  return `ssr-${distribution}-${architecture}`;
}
