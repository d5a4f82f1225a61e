/** Opens the repository key of a data directory as soon as a line comes, and says which one it is. */
import { openRepositoryKey } from '../../../src/repo/formats/openpgp/repository-key.ts';

process.stdout.write('ready\n');
process.stdin.once('data', async () => {
  const { fingerprint } = await openRepositoryKey(process.argv[2] ?? '');
  process.stdout.write(`${fingerprint}\n`);
  process.stdin.destroy();
});
