/** Applications in a test process: no daemon, no children, no sockets. What runs them is loaded when it is first asked for. */
import type { Bound, boundOf } from './deployment.ts';
import type { CallContext, DeploymentContext, Handle } from './index.ts';

/** An application that runs in this process. */
export interface LocalClient<T> extends AsyncDisposable {
  /** Of the ingress, as a handle has it. */
  readonly call: Handle<T> extends { readonly call: infer Call } ? Call : never;
  /** Every method of the ingress, and `options`. */
  readonly handle: Handle<T>;
  /**
   * To any deployment of the application, by its name.
   * @throws TypeError where there is none of that name
   */
  handleOf<D = Record<never, never>>(deployment: string): Handle<D>;
  /**
   * An HTTP request to the application, whose route is `/`; redirects are answers like others.
   * @param input a path, a URL or a `Request`
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /**
   * Ends what is under way: who waits gets UNAVAILABLE, signals are aborted, and then `close` of each instance is called.
   * @throws what that throws
   */
  close(): Promise<void>;
}

export interface LocalOptions {
  /** The name of the application; `default` where none is given. */
  name?: string;
  /** Instances of each deployment at most; else as many as its `numReplicas` says. */
  maxReplicas?: number;
  /** What is written to standard error: `trace`, `debug`, `info`, `warn` (where nothing is given), `error`, `fatal` or `silent`. */
  logLevel?: string;
}

type WithArgs<Args> = [options: LocalOptions & { args: Args }];
type Given<Args> = Record<never, never> extends Args ? [options?: LocalOptions & { args?: Args }] : WithArgs<Args>;

/** A function, unless it builds an application: then it may want `args`. Of what may be anything nothing is known. */
type Served<F, Result> = [Result] extends [never]
  ? F
  : 0 extends 1 & Result
    ? F
    : typeof boundOf extends keyof Result
      ? never
      : F;

/**
 * Runs an application as the daemon would: what `deployment(…).bind(…)` gives, a function that builds one from `args`, a class (its
 * constructor gets `args`), a function that is served itself, or an object with `fetch`. Resolves when all of it is ready.
 * @throws what the code throws as it starts; an error with the code INVALID_INPUT for what cannot be served
 */
export function run<T, Args = Record<never, never>>(
  app: new (args: Args, context: DeploymentContext) => T,
  ...options: Given<Args>
): Promise<LocalClient<T>>;
export function run<T, Args = Record<never, never>>(
  app: (args: Args) => Bound<T> | Promise<Bound<T>>,
  ...options: Given<Args>
): Promise<LocalClient<T>>;
export function run<F extends (input: never, context: CallContext) => unknown>(
  app: Served<F, Awaited<ReturnType<F>>>,
  options?: LocalOptions,
): Promise<LocalClient<{ call: F }>>;
export function run<T extends { fetch(request: Request, ...rest: never[]): Response | Promise<Response> }>(
  app: T,
  options?: LocalOptions,
): Promise<LocalClient<T>>;
export function run<T>(app: Bound<T>, options?: LocalOptions): Promise<LocalClient<T>>;
export async function run(
  app: unknown,
  {
    name = 'default',
    args = {},
    maxReplicas = Number.POSITIVE_INFINITY,
    logLevel = 'warn',
  }: LocalOptions & { args?: object } = {},
): Promise<unknown> {
  const { LocalApplication } = await import('../local/application.ts');
  const local = await LocalApplication.start(app, { name, args: args as Record<string, unknown>, maxReplicas, logLevel });
  const handle = local.handle() as Handle<{ call(input: unknown): unknown }>;
  const client: LocalClient<{ call(input: unknown): unknown }> = {
    call: handle.call,
    handle,
    handleOf: <D>(deployment: string) => local.handle(deployment) as Handle<D>,
    fetch: (input, init) => local.fetch(input, init),
    close: () => local.close(),
    [Symbol.asyncDispose]: () => local.close(),
  };
  return client;
}
