/** A thread of `PackageThreads`: examines one package after the other, as it is asked to. */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { fileSource } from '../blobs/file-source.ts';
import { readVendorKey, type VendorKey } from '../formats/openpgp/key-files.ts';
import { rpmVerifier, type VerifyRpm } from '../formats/rpm/verify-rpm.ts';
import { examinePackage } from './examine-package.ts';
import { sent, type ThreadAnswer, type ThreadQuestion, type ThreadTask } from './package-threads.ts';

if (parentPort !== null) serve(parentPort, await verifierFor(workerData as ThreadTask));

/** Reading waits, so packages take turns by themselves. */
function serve(port: MessagePort, verify: VerifyRpm): void {
  port.on('message', async ({ number, fd, start, size }: ThreadQuestion) => {
    const examined = await examinePackage(fileSource({ fd, start }, size), verify).catch(() => undefined);
    port.postMessage({ number, examined: examined && sent(examined) } satisfies ThreadAnswer);
  });
}

async function verifierFor({ keys, policy, now }: ThreadTask): Promise<VerifyRpm> {
  const certificates: VendorKey[] = [];
  for (const { fingerprint, bytes } of keys) certificates.push(await readVendorKey(bytes, fingerprint, now));
  return rpmVerifier({ ...policy, keys: certificates, now });
}
