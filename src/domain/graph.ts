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

/** `when`: whether a step runs. What is compared is plain JSON; a tensor or bytes equal nothing. */
export type Condition =
  | {
      readonly kind: 'compare';
      readonly value: Expression;
      readonly operator: 'equals' | 'in' | 'exists' | 'gt' | 'lt';
      readonly operand: Json;
    }
  | { readonly kind: 'not'; readonly condition: Condition }
  | { readonly kind: 'all'; readonly conditions: readonly Condition[] };

/** `split`: one of several targets for each request. */
export interface Split {
  /** Weights are relative and at least one is above 0. */
  readonly targets: readonly { readonly target: CallTarget; readonly weight: number }[];
  /** Requests with the same value here go the same way as long as weights stay. */
  readonly stickyBy: Expression | undefined;
  /** What moves the weights by itself. Absent: the file alone. */
  readonly verdict?: VerdictSpec;
  /** Its calls are counted under this name, which is another when the split or its canary is. Absent: they are not counted. */
  readonly judgedAs?: string;
}

/** What the weights come to, in the order of the targets. */
export const percentsOf = (targets: Split['targets']): readonly number[] => {
  const total = targets.reduce((sum, { weight }) => sum + weight, 0);
  return targets.map(({ weight }) => (total === 0 ? 0 : (100 * weight) / total));
};

/** `verdict` of a split with two targets: the first is the stable one, the second the canary. */
export interface VerdictSpec {
  /** Percent of the requests that the canary gets, one after the other; rising. */
  readonly steps: readonly number[];
  readonly windowMs: number;
  /** With fewer in the window nothing is known. */
  readonly minRequests: number;
  /** Who asks is not spread evenly: one client's mistakes may all go to the canary. */
  readonly isSticky: boolean;
  /** The canary is below all of them: it gets the next step. undefined: never. */
  readonly promoteWhen: VerdictBounds | undefined;
  /** The canary is above one of them: it gets nothing any more. undefined: never. */
  readonly abortWhen: VerdictBounds | undefined;
}

/** Of the canary; at least one is given. */
export interface VerdictBounds {
  /** Share of its requests that failed by its fault, or that it refused where the stable target would not have. */
  readonly errorRate?: number;
  readonly p99Ms?: number;
  /** Its p99 over that of the stable target. */
  readonly p99Ratio?: number;
  /** Share of the answers of the shadow that are not those of the stable target. */
  readonly difference?: number;
}

/** `shadow`: who gets a copy of the traffic; its answers are compared, counted and dropped. */
export interface Shadow {
  readonly target: CallTarget;
  /** Numbers a and b are alike when |a − b| ≤ tolerance · max(1, |a|, |b|). */
  readonly tolerance: number;
}

export interface GraphStep {
  readonly name: string;
  /** Whom it calls; with `split` the first of its targets. */
  readonly target: CallTarget;
  readonly split: Split | undefined;
  readonly shadow: Shadow | undefined;
  /** undefined: it always runs. With `for_each` it is asked for each item where it refers to one. */
  readonly when: Condition | undefined;
  /** undefined: a call that fails is not tried again. */
  readonly retry: { readonly maxAttempts: number; readonly backoffMs: number } | undefined;
  readonly input: Expression;
  /** Fans out over a list; `$item` and `$index` are then known in `input`. */
  readonly forEach: Expression | undefined;
  /** Of the step as a whole, its further tries included. */
  readonly timeoutMs: number | undefined;
  /** With `for_each`: how many items may wait or be worked on at once; undefined: twice as many as the replicas may work on. */
  readonly maxConcurrency: number | undefined;
  /** `on_error: {value}`: what stands for the answer of a call that fails (with `for_each` of that item's); undefined = the request fails. */
  readonly onError: { readonly value: Json } | undefined;
  /** Which multiplexed model the call is for; undefined: for none. */
  readonly model: Expression | undefined;
  /** Names of the steps this one refers to. */
  readonly needs: readonly string[];
}

export interface Graph {
  /** In an order in which each step stands behind all that it needs. */
  readonly steps: readonly GraphStep[];
  readonly output: Expression;
  /** The step whose answer, where it comes as a stream, goes to the client as it comes: all of the output, and no other step's input. */
  readonly streams: string | undefined;
}

/** All whom a step may call. */
export const targetsOf = ({ target, split, shadow }: GraphStep): readonly CallTarget[] => [
  ...(split === undefined ? [target] : split.targets.map((each) => each.target)),
  ...(shadow === undefined ? [] : [shadow.target]),
];
