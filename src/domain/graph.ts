/** A declared graph after compilation: what the data plane executes. Built by `graph/compile`, run by `graph/step` and the proxy. */
import type { Json } from './json.ts';

/** Where a call goes. `method` is `call` unless the step names another. */
export interface CallTarget {
  readonly application: string;
  readonly deployment: string;
  readonly method: string;
}

/** `$request.json.a[0]` → root `request`, path `['json', 'a', 0]`; `$step.x` → root `step`; `$item`, `$index` inside `for_each`. */
export type Reference =
  | { readonly kind: 'ref'; readonly root: 'request'; readonly path: readonly (string | number)[] }
  | { readonly kind: 'ref'; readonly root: 'step'; readonly step: string; readonly path: readonly (string | number)[] }
  | { readonly kind: 'ref'; readonly root: 'item' | 'index'; readonly path: readonly (string | number)[] };

/** What a step's `input` or the graph's `output` says: literals with references in them. */
export type Expression =
  | Reference
  | { readonly kind: 'literal'; readonly value: Json }
  | { readonly kind: 'object'; readonly entries: readonly (readonly [string, Expression])[] }
  | { readonly kind: 'list'; readonly items: readonly Expression[] };

export interface GraphStep {
  readonly name: string;
  readonly target: CallTarget;
  readonly input: Expression;
  /** Fans out over a list; `$item` and `$index` are then known in `input`. */
  readonly forEach: Expression | undefined;
  readonly timeoutMs: number | undefined;
  /** With `for_each`: how many items may be in the queue at once; undefined = twice the free slots. */
  readonly maxConcurrency: number | undefined;
  /** `on_error: {value}`: what stands for the answer of a call that fails (with `for_each` of that item's); undefined = the request fails. */
  readonly onError: { readonly value: Json } | undefined;
  /** Names of the steps this one refers to. */
  readonly needs: readonly string[];
}

export interface Graph {
  /** In an order in which each step stands behind all that it needs. */
  readonly steps: readonly GraphStep[];
  readonly output: Expression;
}
