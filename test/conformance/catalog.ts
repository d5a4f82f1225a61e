import { describe } from 'node:test';
import { blobChecks } from './catalog/blobs.ts';
import { historyChecks } from './catalog/histories.ts';
import { listingChecks } from './catalog/listing.ts';
import { mirroringChecks } from './catalog/mirroring.ts';
import { pruningChecks } from './catalog/pruning.ts';
import { publishingChecks } from './catalog/publishing.ts';
import { rebuildingChecks } from './catalog/rebuilding.ts';
import { sliceChecks } from './catalog/slices.ts';
import { checksOn, type MakePlace } from './catalog/under-test.ts';

/** Everything that the seam promises (src/repo/catalog/catalog.ts), for one driver. */
export function catalogConformance(name: string, make: MakePlace): void {
  const check = checksOn(make);
  describe(`catalog: ${name}`, () => {
    describe('publishing', () => publishingChecks(check));
    describe('histories', () => historyChecks(check));
    describe('listing', () => listingChecks(check));
    describe('blobs', () => blobChecks(check));
    describe('pruning', () => pruningChecks(check));
    describe('what is known of upstream sites', () => mirroringChecks(check));
    describe('slices and packages', () => sliceChecks(check));
    describe('rebuilding', () => rebuildingChecks(check));
  });
}
