/** What replica and session thread say to each other. */
import type { StateSpecs } from '../../domain/desired.ts';
import type { ErrorShape } from '../../domain/errors.ts';
import type { ModelRun } from '../../protocol/start.ts';
import type { Segment } from '../../protocol/value.ts';
import type { SequenceCall } from '../engine.ts';
import type { Signature } from './onnx-signature.ts';

export interface SessionOptions {
  readonly path: string;
  readonly threads: number;
  readonly model: ModelRun['options'];
  /** Name of an input → what ragged ones are filled up with. */
  readonly pad: Readonly<Record<string, number>>;
  /** What it keeps of a sequence; none: nothing. */
  readonly states: StateSpecs;
  /** Of the states of all its sequences. */
  readonly maxStateBytes: number;
}

/** To the session thread. */
export type ToSession = Job | { readonly kind: 'forget'; readonly sequences: readonly number[] };

/** Tensors as code sent them. */
export interface TensorValue {
  readonly skeleton: string;
  readonly segments: readonly Segment[];
}

/** Requests of the Open Inference Protocol, or bodies as clients sent them, or tensors: one skeleton over stacked segments, or one for each call. */
export type Job = JobWork & {
  /** Rows of one run, at most. */
  readonly maxRows: number;
  /** Of its one request. */
  readonly sequence?: SequenceCall | undefined;
};

type JobWork =
  | {
      readonly id: number;
      readonly kind: 'bodies';
      /** All bodies, one after the other. */
      readonly bytes: Uint8Array;
      readonly bodies: readonly { readonly json: boolean; readonly length: number }[];
    }
  | {
      readonly id: number;
      readonly kind: 'infer';
      readonly bytes: Uint8Array;
      readonly requests: readonly {
        /** Where its body stands in `bytes`. */
        readonly from: number;
        readonly length: number;
        /** `Inference-Header-Content-Length` as it came. */
        readonly headerLength: string | undefined;
        /** As the client named it. */
        readonly model: string;
        readonly version: string;
      }[];
    }
  /** `rows`: of each member, where the tensors are a stack. */
  | {
      readonly id: number;
      readonly kind: 'tensors';
      readonly value: TensorValue;
      readonly rows: readonly number[];
    }
  | { readonly id: number; readonly kind: 'each'; readonly values: readonly TensorValue[] };

/** `ms`: what the job took of the session thread, its wait for the one before it not counted. */
export type JobAnswer = JobResult & { readonly ms: number };

export type JobResult =
  /** JSON texts of all members, one after the other; a member that failed has its error in place of a length. */
  | { readonly id: number; readonly kind: 'json'; readonly bytes: Uint8Array; readonly answers: readonly (number | ErrorShape)[] }
  /** The same with the headers of each. */
  | {
      readonly id: number;
      readonly kind: 'http';
      readonly bytes: Uint8Array;
      readonly answers: readonly ({ readonly length: number; readonly headers: readonly string[] } | ErrorShape)[];
    }
  | { readonly id: number; readonly kind: 'tensors'; readonly value: TensorValue }
  | { readonly id: number; readonly kind: 'each'; readonly answers: readonly (TensorValue | ErrorShape)[] }
  | { readonly id: number; readonly kind: 'error'; readonly error: ErrorShape };

/** Whether any of its requests is answered with an error. */
export const hasError = (result: JobResult): boolean => {
  if ('answers' in result) return result.answers.some((each) => typeof each === 'object' && 'code' in each);
  return result.kind === 'error';
};

export type FromSession =
  | {
      readonly kind: 'ready';
      readonly signature: Signature;
      readonly provider: string;
      readonly instead: readonly string[];
      /** What one row takes, where that can be said. */
      readonly rowMs: number | undefined;
    }
  | { readonly kind: 'failed'; readonly error: ErrorShape }
  | JobAnswer;
