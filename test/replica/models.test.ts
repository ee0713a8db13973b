import fc from 'fast-check';
import t from 'tap';
import type { ModelsMeta } from '../../src/protocol/messages.ts';
import { type ModelLoader, Models, type ModelUse } from '../../src/replica/models.ts';

/** Loads and unloads when the test says so, and counts what is in memory. */
class Scripted implements ModelLoader {
  readonly loads: string[] = [];
  readonly unloads: string[] = [];
  readonly #open = new Map<string, (error?: Error) => void>();
  readonly inMemory = new Set<string>();
  most = 0;

  load(id: string): Promise<unknown> {
    this.loads.push(id);
    this.inMemory.add(id);
    this.most = Math.max(this.most, this.inMemory.size);
    return new Promise((resolve, reject) =>
      this.#open.set(`load ${id}`, (error) => {
        if (error !== undefined) this.inMemory.delete(id);
        error === undefined ? resolve({ is: id }) : reject(error);
      }),
    );
  }

  unload(_model: unknown, id: string): Promise<void> {
    this.unloads.push(id);
    return new Promise((resolve, reject) =>
      this.#open.set(`unload ${id}`, (error) => {
        this.inMemory.delete(id);
        error === undefined ? resolve() : reject(error);
      }),
    );
  }

  get open(): readonly string[] {
    return [...this.#open.keys()];
  }

  async finish(what: string, error?: Error): Promise<void> {
    const open = this.#open.get(what);
    if (open === undefined) throw new Error(`${what} is not under way; ${this.open.join(', ')} are`);
    this.#open.delete(what);
    open(error);
    await turns();
  }
}

const turns = () => new Promise<void>((resolve) => setImmediate(resolve));

const made = (limit: number) => {
  const loader = new Scripted();
  const told: ModelsMeta[] = [];
  const failed: string[] = [];
  const models = new Models((id, error) => failed.push(`${id}: ${(error as Error).message}`));
  models.connect((change) => told.push(change));
  models.serve(loader);
  models.allow(limit);
  const use = (id: string | undefined, signal: AbortSignal = new AbortController().signal) => {
    const using = models.use(id, () => signal);
    // Some fail before the test looks at them.
    using.catch(() => {});
    return using;
  };
  /** Used and released: held, and the most recently used. */
  const visit = async (id: string) => {
    const using = use(id);
    await turns();
    if (loader.open.includes(`load ${id}`)) await loader.finish(`load ${id}`);
    (await using).release();
  };
  return { loader, told, failed, models, use, visit };
};

t.test('many calls that ask for one model at once load it once, and get the same', async (t) => {
  const { loader, use } = made(3);
  const calls = Array.from({ length: 50 }, () => use('a'));
  await turns();
  t.same(loader.loads, ['a']);
  await loader.finish('load a');
  const [first, ...rest] = await Promise.all(calls);
  t.same(first?.model, { is: 'a' });
  t.ok(rest.every(({ model }) => model === first?.model));
  await use('a');
  t.same(loader.loads, ['a'], 'and later ones find it');
});

t.test('the least recently used goes, and the next is loaded when it has gone', async (t) => {
  const { loader, use, visit, told } = made(2);
  await visit('a');
  await visit('b');
  await visit('a');
  const using = use('c');
  await turns();
  t.same([loader.loads, loader.unloads], [['a', 'b'], ['b']], 'b was used before a');
  await loader.finish('unload b');
  await loader.finish('load c');
  t.same((await using).model, { is: 'c' });
  t.equal(loader.most, 2);
  t.same(told, [{ added: ['a'] }, { added: ['b'] }, { removed: ['b'] }, { added: ['c'] }]);
});

t.test('a model in use does not go: who needs its place waits for it', async (t) => {
  const { loader, use } = made(1);
  const first = use('a');
  await turns();
  await loader.finish('load a');
  const [one, two] = [await first, await use('a')];
  const other = use('b');
  await turns();
  one.release();
  one.release();
  await turns();
  t.same(loader.unloads, [], 'its second user still has it, also when the first lets go twice');
  two.release();
  await loader.finish('unload a');
  await loader.finish('load b');
  t.same((await other).model, { is: 'b' });
  t.equal(loader.most, 1);
});

t.test('different models load side by side, up to the bound', async (t) => {
  const { loader, use } = made(2);
  for (const id of ['a', 'b', 'c']) void use(id);
  await turns();
  t.same(loader.open, ['load a', 'load b']);
});

t.test('a load that fails fails all that wait for it, and is tried again by the next', async (t) => {
  const { loader, use, told } = made(1);
  const calls = [use('a'), use('a')];
  await turns();
  await loader.finish('load a', new Error('no such file'));
  for (const call of calls)
    await t.rejects(call, {
      code: 'USER_ERROR',
      message: 'the model `a` could not be loaded: no such file',
      cause: { message: 'no such file' },
    });
  const again = use('a');
  await turns();
  await loader.finish('load a');
  t.same((await again).model, { is: 'a' });
  t.same(told, [{ added: ['a'] }, { removed: ['a'] }, { added: ['a'] }]);
});

t.test('a load that fails makes its place free', async (t) => {
  const { loader, use } = made(1);
  const failing = use('a');
  const next = use('b');
  await turns();
  await loader.finish('load a', new Error('broken'));
  await t.rejects(failing);
  await loader.finish('load b');
  t.same((await next).model, { is: 'b' });
});

t.test('a model that could not be unloaded has gone all the same, and that is told', async (t) => {
  const { loader, use, visit, failed } = made(1);
  await visit('a');
  const next = use('b');
  await turns();
  await loader.finish('unload a', new Error('stuck'));
  await loader.finish('load b');
  t.same((await next).model, { is: 'b' });
  t.same(failed, ['a: stuck']);
});

t.test('asked for again while it goes, it is loaded when it has gone', async (t) => {
  const { loader, use, visit } = made(2);
  await visit('a');
  await visit('b');
  const c = use('c');
  await turns();
  const a = use('a');
  await turns();
  t.same(loader.open, ['unload a', 'unload b'], 'a goes for c, and b for a');
  await loader.finish('unload b');
  t.same(loader.open, ['unload a', 'load c'], 'a is not loaded beside itself');
  await loader.finish('unload a');
  await loader.finish('load c');
  await loader.finish('load a');
  t.same([(await a).model, (await c).model], [{ is: 'a' }, { is: 'c' }]);
});

t.test('also where there is another place', async (t) => {
  const { loader, use, visit, models } = made(1);
  await visit('a');
  models.allow(0);
  models.allow(2);
  const a = use('a');
  await turns();
  t.same(loader.open, ['unload a']);
  await loader.finish('unload a');
  await loader.finish('load a');
  t.same((await a).model, { is: 'a' });
});

t.test('who leaves while waiting is told so; a load that nobody has begun is then not begun', async (t) => {
  const { loader, use } = made(1);
  const [stays, leaves] = [new AbortController(), new AbortController()];
  const first = use('a');
  const gone = use('b', leaves.signal);
  await turns();
  leaves.abort(new Error('left'));
  await t.rejects(gone, { message: 'left' });
  await loader.finish('load a');
  (await first).release();
  await turns();
  t.same([loader.loads, loader.unloads], [['a'], []], 'a did not go for nobody');
  await t.rejects(use('b', AbortSignal.abort(new Error('late'))), { message: 'late' });
  t.ok(stays.signal.aborted === false);
});

t.test('a lower limit is kept to as soon as models are free, a higher one at once', async (t) => {
  const { loader, use, visit, models } = made(3);
  await visit('a');
  const using = use('b');
  await turns();
  await loader.finish('load b');
  await visit('c');
  models.allow(1);
  t.same(loader.unloads, ['a', 'c'], 'what nothing uses');
  const next = use('d');
  await loader.finish('unload a');
  await loader.finish('unload c');
  t.same(loader.loads, ['a', 'b', 'c']);
  models.allow(2);
  await loader.finish('load d');
  await next;
  t.same((await using).model, { is: 'b' });
});

t.test('what cannot be is said: no id, no limit, no `loadModel`, an id too long', async (t) => {
  const { use, models } = made(1);
  await t.rejects(use(undefined), { code: 'INVALID_INPUT', message: /expected the id of a model, got none/ });
  await t.rejects(use('x'.repeat(257)), { code: 'INVALID_INPUT', message: /at most 256 characters, got 257/ });
  const waits = use('a');
  const other = use('b');
  models.allow(0);
  await t.rejects(
    other,
    { code: 'USER_ERROR', message: /add `multiplexing:/ },
    'who waits is told when the config takes it away',
  );
  await t.rejects(use('c'), { code: 'USER_ERROR', message: /add `multiplexing:/ });
  void waits;
  const bare = new Models(() => {});
  bare.allow(1);
  await t.rejects(
    bare.use('a', () => new AbortController().signal),
    { code: 'USER_ERROR', message: /`loadModel\(id\)`/ },
  );
});

t.test('closing unloads what is held, and waits for it', async (t) => {
  const { loader, visit, models } = made(2);
  await visit('a');
  await visit('b');
  let closed = false;
  const closing = models.close().then(() => {
    closed = true;
  });
  await turns();
  t.same(loader.unloads, ['a', 'b']);
  t.notOk(closed);
  await loader.finish('unload a');
  await loader.finish('unload b');
  await closing;
});

t.test('whatever is asked for in whatever order: the bound holds, nothing in use goes, and everybody is served', async () => {
  const action = fc.oneof(
    fc.record({ do: fc.constant('use' as const), id: fc.integer({ min: 0, max: 5 }) }),
    fc.record({ do: fc.constant('release' as const), nth: fc.nat(9) }),
    fc.record({ do: fc.constant('finish' as const), nth: fc.nat(9), fails: fc.boolean() }),
  );
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.array(action, { maxLength: 40 }), async (limit, actions) => {
      const { loader, use } = made(limit);
      const uses: { id: string; use: ModelUse }[] = [];
      let open = 0;
      const sees = () => {
        if (loader.most > limit) throw new Error(`${loader.most} models in memory, ${limit} allowed`);
        for (const { id } of uses) {
          if (!loader.inMemory.has(id) || loader.open.includes(`unload ${id}`)) throw new Error(`${id} went while in use`);
        }
      };
      const finish = (nth: number, fails: boolean) => {
        const what = loader.open[nth % Math.max(1, loader.open.length)];
        return what === undefined ? undefined : loader.finish(what, fails ? new Error('fails') : undefined);
      };
      for (const each of actions) {
        if (each.do === 'use') {
          const id = `m${each.id}`;
          open += 1;
          void use(id)
            .then(
              (got) => uses.push({ id, use: got }),
              () => {},
            )
            .finally(() => {
              open -= 1;
            });
        } else if (each.do === 'release') uses.splice(each.nth % Math.max(1, uses.length), 1)[0]?.use.release();
        else await finish(each.nth, each.fails);
        await turns();
        sees();
      }
      for (let round = 0; open > 0; round++) {
        if (round > 500) throw new Error(`${open} calls wait for ever`);
        uses.shift()?.use.release();
        await finish(0, false);
        await turns();
        sees();
      }
    }),
    { numRuns: 200 },
  );
});
