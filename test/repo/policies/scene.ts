import type { TestContext } from 'node:test';
import { type App, openApp } from '../../../src/app.ts';
import { tempDir } from '../../support/temp-dir.ts';

/** An app on a data directory of its own, for the time of a test. */
export async function openNew(t: TestContext): Promise<App> {
  const app = await openApp({ dataDir: await tempDir(t) });
  t.after(() => app.close());
  return app;
}

/** An AWS policy that allows these actions on everything. */
export const aws = (...actions: string[]) =>
  JSON.stringify({ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: actions, Resource: '*' } });
