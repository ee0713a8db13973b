/** The handle that user code gets for each name wired to it: every method of the other deployment, as a call through the daemon. */
import type { Handle } from '../sdk/index.ts';
import type { ChildCalls, SendOptions } from './child-calls.ts';

type HandleOptions = SendOptions & { readonly method?: string };

/** Names that JavaScript itself asks objects for: a handle is no promise, and has no JSON form. */
const NOT_METHODS = new Set(['then', 'toJSON', 'constructor', 'prototype']);

/** @param options with `method`, what `call` of the handle calls */
export const makeHandle = (calls: ChildCalls, name: string, options: HandleOptions = {}): Handle<unknown> =>
  new Proxy(Object.create(HANDLE) as object, {
    get: (_target, property) => {
      if (typeof property === 'symbol' || NOT_METHODS.has(property)) return undefined;
      if (property === 'options') return (more: HandleOptions) => makeHandle(calls, name, { ...options, ...more });
      if (property === 'broadcast') return makeHandle(calls, name, { ...options, broadcast: true });
      const method = property === 'call' ? (options.method ?? property) : property;
      return (...args: unknown[]) => calls.call(name, method, args, options);
    },
  }) as Handle<unknown>;

/** Prototype of handles, so that one given as an argument is refused by name instead of being sent as an empty object. */
const HANDLE = Object.create(null, { constructor: { value: { name: 'Handle' } } }) as object;
