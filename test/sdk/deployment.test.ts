/** Applications in code: their types, and what is found behind an export. */
import { type CallContext, deployment, type Handle } from 'serve-daemon';
import t from 'tap';
import { deploymentsOf, describe, withHandles } from '../../src/replica/application.ts';

class Translator {
  readonly to: string;
  constructor({ to }: { to: string }) {
    this.to = to;
  }
  async translate(text: string, _context: CallContext): Promise<string> {
    return `${this.to}: ${text}`;
  }
}
class Summarizer {
  readonly args: { translator: Handle<Translator>; maxLength: number };
  constructor(args: { translator: Handle<Translator>; maxLength: number }) {
    this.args = args;
  }
  async call(text: string): Promise<string> {
    return this.args.translator.translate(text);
  }
}
class Ensemble {
  readonly models: readonly Handle<Translator>[];
  constructor({ models }: { models: readonly Handle<Translator>[] }) {
    this.models = models;
  }
}
async function echo(input: unknown) {
  return input;
}

const translator = deployment(Translator).bind({ to: 'fr' });

/** Never run: the compiler is the test. */
export const types = () => {
  deployment(Summarizer, { numReplicas: 2 }).bind({ translator, maxLength: 15 });
  deployment(Ensemble).bind({ models: [translator, translator] });
  deployment(echo).bind();
  // @ts-expect-error a handle is made of a bound deployment of that class
  deployment(Summarizer).bind({ translator: deployment(echo).bind(), maxLength: 15 });
  // @ts-expect-error maxLength is a number
  deployment(Summarizer).bind({ translator, maxLength: 'long' });
  // @ts-expect-error the constructor takes arguments
  deployment(Translator).bind();
  // @ts-expect-error there is no such option
  deployment(Translator, { replicas: 2 });
};

const app = deployment(Summarizer, {
  numReplicas: 2,
  replicaOptions: { numCpus: 0.5, resources: { bigDisk: 1 } },
  userConfig: { maxWords: 5 },
}).bind({ translator, maxLength: 15 });

t.test('the deployments of an application, the ingress first, with what the file would say of them', async (t) => {
  t.same(describe(await deploymentsOf(app, 'app', {})), {
    deployments: [
      {
        name: 'Summarizer',
        options: {
          num_replicas: 2,
          replica_options: { num_cpus: 0.5, resources: { bigDisk: 1 } },
          user_config: { maxWords: 5 },
        },
        args: { maxLength: 15 },
        handles: { translator: 'Translator' },
      },
      { name: 'Translator', options: {}, args: { to: 'fr' }, handles: {} },
    ],
    ingress: 'Summarizer',
  });
});

t.test('a deployment that is bound twice is one; two of the same class are two', async (t) => {
  const other = deployment(Translator).bind({ to: 'de' });
  const ensemble = deployment(Ensemble).bind({ models: [translator, other, translator] });
  const { deployments } = describe(await deploymentsOf(ensemble, 'app', {}));
  t.same(
    deployments.map(({ name, handles }) => [name, handles]),
    [
      ['Ensemble', { 'models.0': 'Translator', 'models.1': 'Translator_1', 'models.2': 'Translator' }],
      ['Translator', {}],
      ['Translator_1', {}],
    ],
  );
});

t.test('handles stand where deployments were bound', async (t) => {
  const [{ args } = { args: {} }] = await deploymentsOf(deployment(Ensemble).bind({ models: [translator] }), 'app', {});
  t.same(
    withHandles(args, (place) => `handle ${place}`),
    { models: ['handle models.0'] },
  );
});

t.test('a function builds the application from its arguments, also later', async (t) => {
  const build = async ({ to }: { to: string }) => deployment(Translator, { name: `To_${to}` }).bind({ to });
  const { deployments } = describe(await deploymentsOf(build, 'build', { to: 'it' }));
  t.match(deployments, [{ name: 'To_it', args: { to: 'it' } }]);
});

t.test('a function that builds nothing is served itself', async (t) => {
  let calls = 0;
  const served = async (exported: unknown) => describe(await deploymentsOf(exported, 'app', {}));
  const itself = { deployments: [{ name: 'fn', handles: {} }], bare: true };
  const named = (fn: unknown) => Object.defineProperty(fn as object, 'name', { value: 'fn' });
  t.match(await served(named(async (text: string) => text.length)), itself, 'it gives anything else');
  t.match(await served(named(async (text: string) => text.split(' '))), itself, 'it fails without an input');
  t.match(await served(named((_input: unknown, _context: unknown) => calls++)), itself, 'it takes a context');
  t.match(
    await served(
      named(function* () {
        yield calls++;
      }),
    ),
    itself,
    'it streams',
  );
  t.equal(calls, 0, 'what cannot build is not called');
  const careful = ({ to }: { to?: string }) => {
    if (to === undefined) throw new Error('to is needed');
    return deployment(Translator).bind({ to });
  };
  await t.rejects(served(careful), /to is needed/, 'a builder that fails is no function to serve');
  const failing = () => {
    throw new Error('no idea how');
  };
  await t.rejects(served(failing), /no idea how/, 'nor is what fails although it takes no input');
  t.match(await served(named(() => 'hello')), itself, 'one without an input may be served');
  t.equal((await served(app)).bare, undefined);
  t.equal((await served(Translator)).bare, undefined);
});

t.test('a class is an application of its own', async (t) => {
  t.match(describe(await deploymentsOf(Translator, 'Translator', { to: 'es' })).deployments, [
    { name: 'Translator', args: { to: 'es' } },
  ]);
});

t.test('arguments that JSON cannot say are the code’s own', async (t) => {
  const model = deployment(echo).bind();
  const odd = deployment(Ensemble as never).bind({ map: new Map(), model } as never);
  t.same(describe(await deploymentsOf(odd, 'app', {})).deployments[0]?.args, undefined);
});

t.test('an option that no file can say is refused by its place', async (t) => {
  const told = async (options: object) => describe(await deploymentsOf(deployment(echo, options).bind(), 'app', {}));
  for (const [value, got] of [
    [5n, 'a bigint'],
    [() => 1, 'a function'],
    [Number.NaN, 'NaN'],
    [new Date(0), 'a Date'],
    [new Map(), 'a Map'],
  ] as const)
    await t.rejects(told({ userConfig: { deep: [value] } }), {
      code: 'INVALID_INPUT',
      message: `the option \`userConfig.deep.0\` of \`echo\`: expected what JSON can say, got ${got}`,
    });
  const circle: { self?: unknown } = {};
  circle.self = circle;
  await t.rejects(told({ userConfig: circle }), { message: /got what is nested deeper than 16 levels/ });
  t.match(await told({ userConfig: { a: null, b: undefined, c: [1, 'x', true] } }), { deployments: [{ name: 'echo' }] });
});

t.test('a class that a compiler has made a function of is a class', async (t) => {
  const Greeter = Function('return function Greeter(args) { this.args = args; }')() as { prototype: object };
  Object.assign(Greeter.prototype, { call() {} });
  t.match(describe(await deploymentsOf(Greeter, 'app', { to: 'fr' })), {
    deployments: [{ name: 'Greeter', args: { to: 'fr' } }],
  });
});

t.test('what is no application is refused with what to do', async (t) => {
  const refused = async (exported: unknown, args = {}) =>
    deploymentsOf(exported, 'app', args).then(
      () => 'taken',
      (error: Error) => error.message,
    );
  t.match(await refused(5), /expected `app` to be an application, .* got number/);
  const wants = /expected the function `app` to return an application.*deployment\(app\)\.bind\(\)/;
  t.match(await refused(echo, { to: 'fr' }), wants, 'what is given args builds');
  t.match(await refused(() => deployment(Translator)), wants, 'without bind');
  t.match(await refused(() => void deployment(Translator).bind({ to: 'fr' })), wants, 'without return');
  t.match(await refused(app, { to: 'fr' }), /takes no args, got to: export a function/);
  t.match(await refused(deployment(echo)), /expected `app` to be bound to its arguments: deployment\(…\)\.bind\(…\)/);
  const given = (args: object) => refused(deployment(Ensemble as never).bind(args as never));
  t.match(await given({ a: [deployment(echo)] }), /the argument `a\.0` is a deployment that is not bound/);
  t.match(
    await given({ a: new Map([['x', translator]]) }),
    /the argument `a` holds a deployment in a Map: expected it in a list/,
  );
  t.match(await given({ a: new Set([translator]) }), /in a Set/);
  t.equal(await given({ a: new Map([['x', 5]]), bind: 5, options: {} }), 'taken');
  const circle: { self?: unknown } = {};
  const bound = deployment(Ensemble as never).bind(circle as never);
  circle.self = bound;
  t.match(await refused(bound), /in a circle/);
});
