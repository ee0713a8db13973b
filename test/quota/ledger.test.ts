import t from 'tap';
import { type Asked, askOf, bytesText } from '../../src/quota/amounts.ts';
import { fitsAlone, Ledger, reasonOf } from '../../src/quota/ledger.ts';
import { type Machine, offerOf } from '../../src/quota/offer.ts';

const asked = (given: Partial<Asked> = {}) =>
  askOf({ numCpus: null, numGpus: null, memoryBytes: null, resources: {}, acceleratorType: null, ...given });
const machine: Machine = { cpus: 2, memoryBytes: 2 ** 31, gpus: [] };
const said = (given: Partial<Parameters<typeof offerOf>[1]> = {}) =>
  offerOf(machine, { numCpus: null, numGpus: null, memoryBytes: null, custom: {}, enforce: 'auto', ...given });

t.test('what can never fit is told in the order asked: what, and what there is', async (t) => {
  const offer = said();
  const ask = asked({ numCpus: 8, numGpus: 1 });
  t.notOk(fitsAlone(ask, offer));
  t.equal(reasonOf(ask, new Ledger(offer), offer), 'asks 8 CPUs, 1 GPU; this machine offers 2, 0');
  t.equal(
    reasonOf(asked({ memoryBytes: 2 ** 32, resources: { licence: 1 } }), new Ledger(offer), offer),
    'asks 4 GiB memory, 1 licence; this machine offers 2 GiB, 0',
  );
});

t.test('what does not fit now is told with what is free', async (t) => {
  const offer = said({ numCpus: 4 });
  const ledger = new Ledger(offer);
  t.ok(ledger.take(asked({ numCpus: 3 })));
  t.equal(ledger.take(asked({ numCpus: 2 })), undefined);
  t.equal(reasonOf(asked({ numCpus: 2 }), ledger, offer), 'asks 2 CPUs; of the 4 that this machine offers 1 is free');
});

t.test('what the file says replaces what was found, more than that included', async (t) => {
  const offer = said({ numCpus: 8, numGpus: 1.5, memoryBytes: 2 ** 40, custom: { licence: 3 } });
  t.ok(fitsAlone(asked({ numCpus: 8, numGpus: 1, memoryBytes: 2 ** 40, resources: { licence: 3 } }), offer));
  t.notOk(fitsAlone(asked({ numGpus: 2 }), offer));
  t.same(
    [...offer.devices],
    [
      ['0', 10_000],
      ['1', 5000],
    ],
  );
});

t.test('a fraction goes to the device where the least is left behind', async (t) => {
  const ledger = new Ledger(said({ numGpus: 2 }));
  t.same(ledger.take(asked({ numGpus: 0.5 }))?.devices, ['0']);
  t.same(ledger.take(asked({ numGpus: 1 }))?.devices, ['1']);
  t.same(ledger.take(asked({ numGpus: 0.3 }))?.devices, ['0']);
  t.equal(ledger.take(asked({ numGpus: 0.3 })), undefined, '0.2 are left');
});

t.test('an accelerator type asks for a device of that type', async (t) => {
  const has = (model: string, acceleratorType: string) =>
    fitsAlone(
      asked({ numGpus: 1, acceleratorType }),
      offerOf(
        { ...machine, gpus: [{ id: '0', model }] },
        { numCpus: null, numGpus: null, memoryBytes: null, custom: {}, enforce: 'auto' },
      ),
    );
  t.ok(has('NVIDIA L4', 'L4'));
  t.ok(has('NVIDIA A100-SXM4-80GB', 'A100'));
  t.ok(has('NVIDIA A100-SXM4-80GB', 'A100-80G'));
  t.ok(has('Tesla T4', 'T4'));
  t.notOk(has('Tesla T4', 'L4'));
});

t.test('what is named 0, or not at all, is not reserved', async (t) => {
  t.equal(asked({ numCpus: 0, numGpus: 0, memoryBytes: 0, resources: { a: 0 } }).size, 0);
  t.equal(asked({ numCpus: 0.00001 }).get('cpu'), 1, 'and what is above 0 is');
});

t.test('bytes are told in the largest unit that they fill', async (t) => {
  t.same([12, 2 ** 28, 1.5 * 2 ** 30, 1000].map(bytesText), ['12 bytes', '256 MiB', '1.5 GiB', '1000 bytes']);
});
