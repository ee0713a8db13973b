/** Runs TypeScript and JavaScript: a class, a function, or an object with `fetch`. */
import { pathToFileURL } from 'node:url';
import { ServeError } from '../../domain/errors.ts';
import type { Json } from '../../domain/json.ts';
import { noExport } from '../../domain/no-export.ts';
import { decodeValue, encodeValue } from '../../protocol/codec.ts';
import { inputOfBody } from '../../protocol/http-value.ts';
import type { MethodShape } from '../../protocol/messages.ts';
import type { DeploymentRun } from '../../protocol/start.ts';
import { copied } from '../../protocol/value.ts';
import { partsOf } from '../../sdk/deployment.ts';
import { wrongCount } from '../../sdk/wrong-count.ts';
import { type CodeDeployment, deploymentsOf, isClass, withHandles } from '../application.ts';
import type { ChildCalls } from '../child-calls.ts';
import { type ReplicaContext, RunningCall, requestOf } from '../context.ts';
import type { Engine, IncomingBatch, IncomingCall, Reply } from '../engine.ts';
import { makeHandle } from '../handle.ts';
import type { ModelLoader, Models } from '../models.ts';
import { isAsyncIterable, sendHttp, sendResponse } from './answer.ts';
import { serveWebSocket } from './websocket.ts';

type Method = (...args: unknown[]) => unknown;
type Instance = Record<string, unknown>;

/** Called by the daemon at their times, not by handles and steps. */
const LIFECYCLE = new Set([
  'constructor',
  'fetch',
  'websocket',
  'reconfigure',
  'checkHealth',
  'close',
  'loadModel',
  'unloadModel',
]);

/**
 * Imports the module, builds the instance, and calls `reconfigure` where a user config is given.
 * @throws whatever the module or the constructor throws; ServeError when the export is nothing that can be deployed
 */
export const startModule = async (
  run: DeploymentRun,
  context: ReplicaContext,
  calls: ChildCalls,
  reply: Reply,
  models: Models,
): Promise<Engine> => {
  if (run.runs.kind !== 'module') throw new TypeError('expected a module');
  const { export: name, bound } = run.runs;
  const exported = await exportOf(run.runs);
  const instance = await (bound === undefined
    ? instantiate(exported, name, run, { ...run.initArgs, ...handlesOf(run, calls) }, context)
    : instantiateBound(exported, bound, run, context, calls));
  return engineOf(instance, run, context, calls, reply, models);
};

/**
 * The instance of one deployment that is at hand, bound in this very process. It is not configured yet: who closes it, if that fails, must have it.
 * @throws as `startModule`
 */
export const startBound = async (
  deployment: CodeDeployment,
  run: DeploymentRun,
  context: ReplicaContext,
  calls: ChildCalls,
  reply: Reply,
  models: Models,
): Promise<Engine> =>
  new ModuleEngine(await instantiateDeployment(deployment, run, context, calls), run, context, calls, reply, models);

const engineOf = async (
  instance: Instance,
  run: DeploymentRun,
  context: ReplicaContext,
  calls: ChildCalls,
  reply: Reply,
  models: Models,
): Promise<Engine> => {
  const engine = new ModuleEngine(instance, run, context, calls, reply, models);
  if (run.userConfig !== undefined) await engine.reconfigure(run.userConfig);
  return engine;
};

/** @throws what the module throws; ServeError INVALID_INPUT when it has no such export */
export const exportOf = async (runs: {
  readonly entry: string;
  readonly source: string;
  readonly export: string;
}): Promise<unknown> => {
  const namespace = (await import(pathToFileURL(runs.entry).href)) as Record<string, unknown>;
  const members = membersOf(namespace);
  // What was an ES module before it was compiled says so, and its default export is a member too.
  const own = Object.hasOwn(members, '__esModule') ? undefined : namespace[runs.export];
  const exported = own ?? (Object.hasOwn(members, runs.export) ? members[runs.export] : undefined);
  if (exported !== undefined) return exported;
  const names = new Set([...Object.keys(namespace), ...Object.keys(members)]);
  throw new ServeError('INVALID_INPUT', noExport(runs.source, runs.export, [...names]));
};

/** What CommonJS exports is the one default export of its module; each of its members counts as an export. */
const membersOf = (namespace: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => {
  const whole = namespace['default'];
  const isAlone = Object.keys(namespace).length === 1 && whole !== null && ['object', 'function'].includes(typeof whole);
  return isAlone ? (whole as Record<string, unknown>) : {};
};

const handlesOf = ({ handles }: DeploymentRun, calls: ChildCalls): Record<string, unknown> =>
  Object.fromEntries(handles.map((handle) => [handle, makeHandle(calls, handle)]));

/** One deployment of an application that was built in code. */
const instantiateBound = async (
  exported: unknown,
  bound: NonNullable<Extract<DeploymentRun['runs'], { kind: 'module' }>['bound']>,
  run: DeploymentRun,
  context: ReplicaContext,
  calls: ChildCalls,
): Promise<Instance> => {
  const deployments = await deploymentsOf(exported, run.application, bound.args);
  const deployment = deployments.find(({ name }) => name === bound.deployment);
  if (deployment === undefined) {
    const names = deployments.map(({ name }) => name).join(', ');
    throw new ServeError('INVALID_INPUT', `the application has no deployment \`${bound.deployment}\`; it has ${names}`);
  }
  return instantiateDeployment(deployment, run, context, calls);
};

/** Its arguments are those of `bind`, under what the file says. */
const instantiateDeployment = (
  { target, args, handles, name }: CodeDeployment,
  run: DeploymentRun,
  context: ReplicaContext,
  calls: ChildCalls,
): Promise<Instance> => {
  const own = withHandles(args, (place) => makeHandle(calls, place)) as Record<string, unknown>;
  const wired = Object.entries(handlesOf(run, calls)).filter(([handle]) => !Object.hasOwn(handles, handle));
  return instantiate(target, name, run, { ...own, ...run.initArgs, ...Object.fromEntries(wired) }, context);
};

const instantiate = async (
  exported: unknown,
  name: string,
  run: DeploymentRun,
  args: Readonly<Record<string, unknown>>,
  context: ReplicaContext,
): Promise<Instance> => {
  if (partsOf(exported) !== undefined)
    throw new ServeError(
      'INVALID_INPUT',
      `the export \`${name}\` is an application: name it in \`import_path\` of the application, not of the deployment ${run.deployment}`,
    );
  if (typeof exported === 'function') {
    if (!isClass(exported as Method)) return { call: exported };
    const Class = exported as new (args: unknown, context: unknown) => Instance;
    return await new Class(args, context);
  }
  if (typeof exported === 'object' && exported !== null && typeof (exported as Instance)['fetch'] === 'function')
    return exported as Instance;
  throw new ServeError(
    'INVALID_INPUT',
    `expected the export \`${name}\` to be a class, a function or an object with \`fetch\`, got ${typeof exported}`,
  );
};

const STREAMS: MethodShape = { input: 'stream', output: 'stream' };
const GENERATORS = new Set(['AsyncGeneratorFunction', 'GeneratorFunction']);

const methodsOf = (instance: Instance): Record<string, MethodShape> => {
  const takesSockets = typeof instance['websocket'] === 'function';
  const methods: Record<string, MethodShape> = {};
  for (
    let level: object | null = instance;
    level !== null && level !== Object.prototype;
    level = Object.getPrototypeOf(level) as object | null
  ) {
    for (const key of Object.getOwnPropertyNames(level)) {
      if (LIFECYCLE.has(key) || (takesSockets && key === 'upgrade') || key.startsWith('_') || Object.hasOwn(methods, key))
        continue;
      const value = Object.getOwnPropertyDescriptor(level, key)?.value as unknown;
      if (typeof value === 'function')
        methods[key] = { input: 'whole', output: GENERATORS.has(value.constructor.name) ? 'stream' : 'whole' };
    }
  }
  return methods;
};

class ModuleEngine implements Engine {
  readonly methods: Readonly<Record<string, MethodShape>>;
  readonly describes = undefined;
  /** What handles and steps may call. */
  readonly #callable: Readonly<Record<string, MethodShape>>;
  readonly #instance: Instance;
  readonly #run: DeploymentRun;
  readonly #context: ReplicaContext;
  readonly #calls: ChildCalls;
  readonly #reply: Reply;
  readonly #fetch: Method | undefined;
  readonly #models: Models;
  readonly #isMultiplexed: boolean;

  constructor(instance: Instance, run: DeploymentRun, context: ReplicaContext, calls: ChildCalls, reply: Reply, models: Models) {
    this.#instance = instance;
    this.#run = run;
    this.#context = context;
    this.#calls = calls;
    this.#reply = reply;
    this.#models = models;
    const loader = loaderOf(instance);
    this.#isMultiplexed = loader !== undefined;
    if (loader !== undefined) models.serve(loader);
    this.#callable = methodsOf(instance);
    this.#fetch = typeof instance['fetch'] === 'function' ? (instance['fetch'] as Method) : undefined;
    this.methods = this.#fetch === undefined ? this.#callable : { ...this.#callable, fetch: STREAMS };
    // Its first use loads a whole fetch client: not in the first request.
    if (this.#fetch !== undefined) void globalThis.Response;
    const serves = this.#fetch !== undefined || typeof instance['websocket'] === 'function';
    if (!serves && Object.keys(this.#callable).length === 0) {
      throw new ServeError(
        'INVALID_INPUT',
        `${run.deployment} has no method to call: add \`call(input)\`, \`fetch(request)\` or \`websocket(socket)\``,
      );
    }
  }

  run(batch: IncomingBatch): void {
    const work =
      batch.form === 'items' ? () => this.#runMixed(batch) : () => this.#runOne(batch.method, batch.calls[0] as IncomingCall);
    // The context of the call is kept only where code can make calls of its own.
    const done = this.#run.handles.length === 0 ? work() : this.#calls.within(batch.calls[0] as IncomingCall, work);
    done.catch((error: unknown) => this.#reply.error(batch.calls, error));
  }

  #runOne(name: string, call: IncomingCall): Promise<void> {
    const context = new RunningCall(this.#context, call, this.#models);
    const work = this.#work(name, call, context);
    return this.#isMultiplexed ? work.finally(() => context.close()) : work;
  }

  async #work(name: string, call: IncomingCall, context: RunningCall): Promise<void> {
    if (call.http !== undefined && name === 'websocket') return serveWebSocket(this.#instance, call, context, this.#reply);
    if (call.http !== undefined && this.#fetch !== undefined) {
      const response = await this.#fetch.call(
        this.#instance,
        requestOf(call.http, call.body?.stream() ?? bodyOf(call), call.signal),
        context,
      );
      if (!(response instanceof Response))
        throw new TypeError(`expected fetch to return a Response, got ${response === null ? 'null' : typeof response}`);
      return sendResponse(this.#reply, call, response);
    }
    if (call.http !== undefined && this.#takesOnlySockets(name)) throw upgradeNeeded(this.#context);
    const method = this.#method(name);
    // Nothing is awaited where the body is there.
    const body = call.body === undefined ? undefined : await call.body.whole();
    const args = call.spread ? (decodeValue(call.value) as unknown[]) : [inputOf(call, body)];
    const result: unknown = await (method.call(this.#instance, ...args, context) as Promise<unknown>);
    if (call.http !== undefined) {
      const sending = sendHttp(this.#reply, call, result);
      // To return it would take three more turns of the microtasks, also where nothing is awaited.
      if (sending !== undefined) await sending;
      return;
    }
    if (!isAsyncIterable(result)) return this.#reply.result([call], copied(encodeValue(result)));
    this.#reply.open(call);
    for await (const item of result) await this.#reply.chunk(call, copied(encodeValue(item)));
    this.#reply.end(call);
  }

  /** Where a class has `fetch`, requests from HTTP go to it one by one; calls of handles and steps go to the batched method together. */
  async #runMixed(batch: IncomingBatch): Promise<void> {
    if (this.#fetch === undefined) return this.#runItems(batch);
    const calls = batch.calls.filter((call) => call.http === undefined);
    const fetches = batch.calls.filter((call) => call.http !== undefined);
    const fetched = fetches.map((call) => {
      // Each has company only until it is answered: what it calls is its own.
      const work = this.#calls.within(call, () => this.#runOne(batch.method, call));
      return work.catch((error: unknown) => this.#reply.error([call], error));
    });
    if (calls.length > 0) await this.#runItems({ ...batch, calls });
    await Promise.all(fetched);
  }

  async #runItems({ method: name, calls }: IncomingBatch): Promise<void> {
    const ready: { call: IncomingCall; input: unknown }[] = [];
    // Where a reload has put such code in the place of code that reads bodies as they come, some are not there yet.
    const bodies = calls.some(({ body }) => body !== undefined)
      ? await Promise.allSettled(calls.map(({ body }) => body?.whole()))
      : [];
    for (const [index, call] of calls.entries()) {
      try {
        const body = bodies[index];
        if (body?.status === 'rejected') throw body.reason;
        ready.push({ call, input: inputOf(call, body?.value) });
      } catch (error) {
        this.#reply.error([call], error);
      }
    }
    if (ready.length === 0) return;
    let results: unknown;
    const contexts = ready.map(({ call }) => new RunningCall(this.#context, call, this.#models));
    try {
      results = await (this.#method(name).call(
        this.#instance,
        ready.map(({ input }) => input),
        contexts,
      ) as Promise<unknown>);
      if (!Array.isArray(results) || results.length !== ready.length) throw wrongCount(name, ready.length, results);
    } catch (error) {
      this.#reply.error(
        ready.map(({ call }) => call),
        error,
      );
      if (this.#isMultiplexed) for (const context of contexts) context.close();
      return;
    }
    // Each for itself: a stream that nobody reads must not hold up the others.
    const answers = ready.map(({ call }, index) => this.#answer(call, (results as unknown[])[index]));
    await Promise.all(answers);
    if (this.#isMultiplexed) for (const context of contexts) context.close();
  }

  async #answer(call: IncomingCall, result: unknown): Promise<void> {
    try {
      if (result instanceof Error) this.#reply.error([call], result);
      else if (call.http !== undefined) await sendHttp(this.#reply, call, result);
      else this.#reply.result([call], copied(encodeValue(result)));
    } catch (error) {
      this.#reply.error([call], error);
    }
  }

  /** A plain request where there is nothing but WebSockets. */
  #takesOnlySockets(name: string): boolean {
    return !Object.hasOwn(this.methods, name) && typeof this.#instance['websocket'] === 'function';
  }

  #method(name: string): Method {
    const method = Object.hasOwn(this.#callable, name) ? this.#instance[name] : undefined;
    if (typeof method !== 'function') {
      const known = Object.keys(this.#callable).join(', ');
      throw new ServeError(
        'CALL_REFUSED',
        `${this.#context.application}/${this.#context.deployment} has no method \`${name}\`; it has ${known || '`fetch` only, for HTTP'}`,
      );
    }
    return method as Method;
  }

  async reconfigure(userConfig: Json): Promise<void> {
    const method = this.#instance['reconfigure'];
    if (typeof method !== 'function')
      throw new ServeError('INVALID_INPUT', `user_config is given, but ${this.#run.deployment} has no method \`reconfigure\``);
    await (method as Method).call(this.#instance, userConfig);
  }

  async check(): Promise<void> {
    const method = this.#instance['checkHealth'];
    if (typeof method === 'function') await (method as Method).call(this.#instance);
  }

  async close(): Promise<void> {
    await this.#models.close();
    const method = this.#instance['close'] ?? (this.#instance as { [Symbol.asyncDispose]?: unknown })[Symbol.asyncDispose];
    if (typeof method === 'function') await (method as Method).call(this.#instance);
  }
}

const upgradeNeeded = ({ application, deployment }: ReplicaContext): ServeError =>
  new ServeError('HTTP_ERROR', `${application}/${deployment} takes WebSockets only.`, {
    status: 426,
    headers: { upgrade: 'websocket' },
  });

/** How the class loads and unloads models by id; undefined where it does not. */
const loaderOf = (instance: Instance): ModelLoader | undefined => {
  const load = instance['loadModel'];
  if (typeof load !== 'function') return undefined;
  return {
    load: async (id) => (load as Method).call(instance, id),
    unload: async (model, id) => {
      const unload = instance['unloadModel'];
      if (typeof unload === 'function') return void (await (unload as Method).call(instance, model, id));
      const disposable = Object(model) as { [Symbol.asyncDispose]?: unknown; [Symbol.dispose]?: unknown };
      const dispose = disposable[Symbol.asyncDispose] ?? disposable[Symbol.dispose];
      if (typeof dispose === 'function') await (dispose as Method).call(model);
    },
  };
};

const bodyOf = (call: IncomingCall): Uint8Array => call.value.segments[0]?.bytes ?? new Uint8Array(0);

const inputOf = (call: IncomingCall, body = bodyOf(call)): unknown =>
  call.http === undefined ? decodeValue(call.value) : inputOfBody(call.http, body);
