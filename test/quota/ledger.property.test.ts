import fc from 'fast-check';
import t from 'tap';
import { type Amounts, askOf } from '../../src/quota/amounts.ts';
import { Ledger, type Reservation } from '../../src/quota/ledger.ts';
import { type Machine, offerOf } from '../../src/quota/offer.ts';

const machine: Machine = { cpus: 8, memoryBytes: 2 ** 34, gpus: ['0', '1', '2', '3'].map((id) => ({ id, model: 'NVIDIA L4' })) };
const nothingSaid = { numCpus: null, numGpus: null, memoryBytes: null, custom: { licence: 2.5 }, enforce: 'auto' } as const;
const offer = offerOf(machine, nothingSaid);

const asks: fc.Arbitrary<Amounts> = fc
  .record({
    numCpus: fc.constantFrom(null, 0.1, 0.3, 0.7, 1 / 3, 1, 1.5),
    numGpus: fc.constantFrom(null, 0.1, 0.25, 0.3, 0.5, 1, 2),
    memoryBytes: fc.constantFrom(null, 1, 12_345_678.9),
    resources: fc.constantFrom<Record<string, number>>({}, { licence: 0.1 }),
    acceleratorType: fc.constantFrom(null, 'L4'),
  })
  .map(askOf);

/** Everything that is free, by name, devices included. */
const freeOf = (ledger: Ledger) => JSON.stringify([...offer.amounts.keys()].map((name) => ledger.free(name)));

t.test('after 10,000 changes exactly as much is free as before', async (t) => {
  fc.assert(
    fc.property(
      fc.array(asks, { minLength: 5, maxLength: 30 }),
      fc.array(fc.nat(), { minLength: 50, maxLength: 50 }),
      (all, picks) => {
        const ledger = new Ledger(offer);
        const before = freeOf(ledger);
        const held: Reservation[] = [];
        for (let change = 0; change < 10_000; change++) {
          const pick = (picks[change % picks.length] ?? 0) + change;
          const taken = pick % 3 === 0 ? undefined : ledger.take(all[pick % all.length] as Amounts);
          if (taken !== undefined) held.push(taken);
          else {
            const [one] = held.splice(pick % Math.max(1, held.length), 1);
            if (one !== undefined) ledger.give(one);
          }
          for (const name of offer.amounts.keys()) if (ledger.free(name) < 0) return false;
        }
        for (const one of held) ledger.give(one);
        // Every device is whole again too.
        const all4 = ledger.take(askOf({ numCpus: null, numGpus: 4, memoryBytes: null, resources: {}, acceleratorType: null }));
        if (all4 === undefined) return false;
        ledger.give(all4);
        return freeOf(ledger) === before;
      },
    ),
    { numRuns: 20 },
  );
  t.pass();
});

t.test('no device is given more than it has, and fractions share', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0.1, 0.25, 0.3, 0.5, 0.7, 1, 2), { maxLength: 40 }), (gpus) => {
      const ledger = new Ledger(offer);
      const parts = new Map<string, number>();
      for (const numGpus of gpus) {
        const ask = askOf({ numCpus: null, numGpus, memoryBytes: null, resources: {}, acceleratorType: null });
        const taken = ledger.take(ask);
        if (taken === undefined) continue;
        if (taken.devices.length !== Math.ceil(numGpus)) return false;
        for (const id of taken.devices) parts.set(id, (parts.get(id) ?? 0) + Math.round(Math.min(1, numGpus) * 10_000));
      }
      return [...parts.values()].every((each) => each <= 10_000);
    }),
  );
  t.pass();
});
