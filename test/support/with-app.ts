/**
 * A data directory that a test looks into by itself: opened as any command opens it, without the half second of processor
 * time that starting a command takes.
 */
import { type App, openApp } from '../../src/app.ts';
import { importFile } from '../../src/repo/ingest/import-file.ts';
import { silent } from '../../src/repo/progress.ts';

/** Opens a data directory, and closes it after `work`. Other processes may have it open. */
export async function withApp<T>(dataDir: string, work: (app: App) => Promise<T>): Promise<T> {
  const app = await openApp({ dataDir });
  try {
    return await work(app);
  } finally {
    await app.close();
  }
}

/** What `import file --repository … --path … FILE` does, without a process of its own. */
export async function putFile(dataDir: string, repository: string, path: string, file: string): Promise<void> {
  await withApp(dataDir, async (app) => importFile(await app.ingest(), file, { repository, path }, quietly()));
}

/** For work that nobody watches or stops. */
export function quietly() {
  return { signal: new AbortController().signal, progress: silent };
}
