import t from 'tap';
import { Tensor } from '../../src/protocol/tensor.ts';
import { tried } from '../../src/replica/engines/onnx-rows.ts';
import type { Feeds, Signature } from '../../src/replica/engines/onnx-signature.ts';

const SIGNATURE: Signature = {
  inputs: [{ name: 'images', dtype: 'float32', shape: ['batch', 3, 'height', 'width'] }],
  outputs: [{ name: 'out', dtype: 'float32', shape: ['unk__1', 7] }],
};
const rows = (count: number) => ({ out: new Tensor('float32', [count, 7], new Float32Array(count * 7)) });
const shapeOf = (feeds: Feeds) => (feeds['images'] as Tensor).shape;

t.test('a model with a row for each row may be stacked, whatever its axes are called', async (t) => {
  const shapes: (readonly number[])[] = [];
  const run = async (feeds: Feeds) => {
    shapes.push(shapeOf(feeds));
    return rows(shapeOf(feeds)[0] as number);
  };
  t.equal((await tried(SIGNATURE, run, () => 0.5)).rowsAgree, true);
  t.same(shapes, [
    [2, 3, 32, 32],
    [3, 3, 32, 32],
    [5, 3, 32, 32],
  ]);
});

t.test('a detector may not, not even where it finds as many as there are images once', async (t) => {
  t.equal(
    (
      await tried(
        SIGNATURE,
        async () => rows(3),
        () => 0.5,
      )
    ).rowsAgree,
    false,
  );
});

t.test('extents that the model does not run with are passed over; one that runs with none is not stacked', async (t) => {
  const picky = async (feeds: Feeds) => {
    const shape = shapeOf(feeds);
    if (shape[2] !== 64) throw new Error('expected 64');
    return rows(shape[0] as number);
  };
  t.equal((await tried(SIGNATURE, picky, () => 0.5)).rowsAgree, true);
  t.equal(
    (
      await tried(
        SIGNATURE,
        () => Promise.reject(new Error('never')),
        () => 0.5,
      )
    ).rowsAgree,
    false,
  );
});
