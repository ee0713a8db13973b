/** One line a request: where it went, how long it waited and worked, in how large a batch. Formatting is pure; nothing of bodies or credentials. */
import type { CallTrace } from '../dispatch/pending.ts';

export interface AccessRecord {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly application: string;
  readonly route: string;
  readonly status: number;
  /** From the head of the request to the end of the answer. */
  readonly totalMs: number;
  readonly error?: string;
  readonly traces: readonly CallTrace[];
}

/** What the calls of one deployment came to within a request. */
interface Share {
  deployment: string;
  replica: string;
  calls: number;
  batch: number;
  queueMs: number;
  workMs: number;
}

/** One share a deployment, in order of the first call: the largest batch, the longest wait and the longest work. */
export const sharesOf = (traces: readonly CallTrace[]): Share[] => {
  const shares = new Map<string, Share>();
  for (const { deployment, replica, batchSize, queueMs, workMs } of traces) {
    const share = shares.get(deployment);
    if (share === undefined) {
      shares.set(deployment, { deployment, replica, calls: 1, batch: batchSize, queueMs: round(queueMs), workMs: round(workMs) });
      continue;
    }
    share.calls += 1;
    share.batch = Math.max(share.batch, batchSize);
    share.queueMs = Math.max(share.queueMs, round(queueMs));
    share.workMs = Math.max(share.workMs, round(workMs));
  }
  return [...shares.values()];
};

const round = (ms: number): number => Math.round(ms * 100) / 100;

export const jsonLine = (record: AccessRecord): string => {
  const { traces, time, totalMs, error, ...rest } = record;
  return `${JSON.stringify({ level: 30, time, msg: 'request', ...rest, ms: round(totalMs), error, deployments: sharesOf(traces) })}\n`;
};

export const textLine = (record: AccessRecord): string => {
  const at = new Date(record.time).toISOString().slice(11, 23);
  const shares = sharesOf(record.traces).map(
    ({ deployment, replica, calls, batch, queueMs, workMs }) =>
      `${replica === '' ? deployment : replica}${calls > 1 ? ` ×${calls}` : ''} batch=${batch} queue=${queueMs}ms work=${workMs}ms`,
  );
  const error = record.error === undefined ? '' : ` ${record.error}`;
  return `${at} ${record.method} ${printable(record.path)} ${record.status}${error} ${round(record.totalMs)}ms ${shares.join(' | ')} id=${printable(record.requestId)}\n`;
};

/** What a client wrote must not be able to forge a line or move the cursor of a terminal. */
const printable = (text: string): string => text.slice(0, 512).replaceAll(/[^\x21-\x7e]/g, '?');
