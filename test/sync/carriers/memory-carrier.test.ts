import { carrierConformance } from '../../conformance/carrier.ts';
import { type MemoryPlace, memoryCarrier } from '../../support/memory-carrier.ts';

const SETTLE_EVERY = 64 * 1024;

carrierConformance('memory', async () => {
  const place: MemoryPlace = new Map();
  return {
    carrier: memoryCarrier(place, SETTLE_EVERY),
    settleEvery: SETTLE_EVERY,
    another: async () => memoryCarrier(place, SETTLE_EVERY),
    peek: async (path) => place.get(path),
    plant: async (path, bytes) => {
      place.set(path, bytes);
    },
    remove: async () => place.clear(),
  };
});
