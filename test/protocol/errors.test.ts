import t from 'tap';
import { ERROR_TABLE, type ErrorShape, errorFromShape, ServeError, shapeOfError } from '../../src/domain/errors.ts';

const carried = (thrown: unknown) => errorFromShape(JSON.parse(JSON.stringify(shapeOfError(thrown))) as ErrorShape);

t.test('every code crosses a process boundary with its message, details and source', async (t) => {
  for (const code of Object.keys(ERROR_TABLE) as (keyof typeof ERROR_TABLE)[]) {
    const error = new ServeError(code, `about ${code}`, { retryAfterS: 2 });
    error.source = 'app/A';
    t.match(carried(error), { code, message: `about ${code}`, details: { retryAfterS: 2 }, source: 'app/A', stack: error.stack });
  }
});

t.test('what user code threw keeps its name and its causes', async (t) => {
  const error = carried(new TypeError('outer', { cause: new RangeError('inner') }));
  t.match(error, { code: 'USER_ERROR', name: 'TypeError', message: 'outer', cause: { name: 'RangeError', message: 'inner' } });
});

t.test('anything may be thrown', async (t) => {
  for (const thrown of ['text', 5, null, undefined, Symbol('s'), { a: 1 }, Object.create(null)]) {
    t.doesNotThrow(() => carried(thrown), `${typeof thrown}`);
  }
});

t.test('details that have no JSON form do not turn one error into another', async (t) => {
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  for (const details of [{ n: 1n }, circle]) t.doesNotThrow(() => carried(new ServeError('INVALID_INPUT', 'no', details)));
});

t.test('a chain of causes is cut, one in a circle too', async (t) => {
  const error = new Error('circle');
  error.cause = error;
  let depth = 0;
  for (let each: unknown = carried(error); each instanceof Error; each = each.cause) depth += 1;
  t.ok(depth < 20, `${depth} causes`);
});

t.test('an untrusted shape becomes an error, whatever is in it', async (t) => {
  const shapes: unknown[] = [
    {},
    { code: 'NO_SUCH_CODE', message: 5 },
    { code: 'constructor', message: null, details: 'text', name: 1, stack: {}, source: [] },
    { code: 'USER_ERROR', message: 'm', cause: 'text' },
    { code: 'USER_ERROR', message: { toString: null, valueOf: null } },
  ];
  for (const shape of shapes) t.doesNotThrow(() => errorFromShape(shape as ErrorShape), JSON.stringify(shape));
  t.equal(errorFromShape({ code: 'NO_SUCH_CODE', message: 'm' } as unknown as ErrorShape).code, 'USER_ERROR');
});

t.test('a shape with 100,000 causes becomes an error, not a stack overflow', async (t) => {
  let shape: ErrorShape = { code: 'USER_ERROR', message: 'innermost' };
  for (let level = 0; level < 100_000; level++) shape = { code: 'USER_ERROR', message: 'm', cause: shape };
  t.doesNotThrow(() => errorFromShape(shape));
});

t.test('the status is the one that was chosen, where it is one, else that of the table', async (t) => {
  const status = (details: Record<string, unknown>) => new ServeError('QUEUE_FULL', 'm', details).status;
  t.same(
    [status({ status: 429 }), status({}), status({ status: 200 }), status({ status: '429' }), status({ status: 600 })],
    [429, 503, 503, 503, 503],
  );
});
