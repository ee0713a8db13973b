/** One line a request: where it went, how long it waited and worked, in how large a batch. Formatting is pure; nothing of bodies or credentials. */
import type { CacheUse, CallTrace } from '../dispatch/pending.ts';

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
  /** Of a WebSocket that was open: what it was closed with. */
  readonly closeCode?: number;
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
  /** `mixed`: not the same for all of its calls. undefined: it has no response cache. */
  cache: CacheUse | 'mixed' | undefined;
}

/** One share a deployment, in order of the first call: the largest batch, the longest wait and the longest work. */
export const sharesOf = (traces: readonly CallTrace[]): Share[] => {
  if (traces.length === 1) return traces.map(shareOf);
  const shares = new Map<string, Share>();
  for (const trace of traces) {
    const { deployment, batchSize, queueMs, workMs, cache } = trace;
    const share = shares.get(deployment);
    if (share === undefined) {
      shares.set(deployment, shareOf(trace));
      continue;
    }
    share.calls += 1;
    share.batch = Math.max(share.batch, batchSize);
    share.queueMs = Math.max(share.queueMs, round(queueMs));
    share.workMs = Math.max(share.workMs, round(workMs));
    if (share.cache !== cache) share.cache = 'mixed';
  }
  return [...shares.values()];
};

const shareOf = ({ deployment, replica, batchSize, queueMs, workMs, cache }: CallTrace): Share => ({
  deployment,
  replica,
  calls: 1,
  batch: batchSize,
  queueMs: round(queueMs),
  workMs: round(workMs),
  cache,
});

const round = (ms: number): number => Math.round(ms * 100) / 100;

/** Put together by hand: one line a request is what the log costs, and a general serialiser costs more. */
export const jsonLine = (record: AccessRecord): string => {
  const { time, requestId, method, path, application, route, status, totalMs, error, closeCode } = record;
  let shares = '';
  for (const { deployment, replica, calls, batch, queueMs, workMs, cache } of sharesOf(record.traces)) {
    const cached = cache === undefined ? '' : `,"cache":"${cache}"`;
    shares += `${shares === '' ? '' : ','}{"deployment":"${deployment}","replica":"${replica}","calls":${calls},"batch":${batch},"queueMs":${queueMs},"workMs":${workMs}${cached}}`;
  }
  const failed = error === undefined ? '' : `,"error":"${error}"`;
  const closed = closeCode === undefined ? '' : `,"closeCode":${closeCode}`;
  // Names and codes are ours and need no escapes; what a client wrote does.
  return `{"level":30,"time":${time},"msg":"request","requestId":${JSON.stringify(requestId)},"method":${JSON.stringify(method)},"path":${JSON.stringify(path)},"application":"${application}","route":${JSON.stringify(route)},"status":${status},"ms":${round(totalMs)}${failed}${closed},"deployments":[${shares}]}\n`;
};

/** @param dated with the day, for files */
export const textLine = (record: AccessRecord, dated = false): string => {
  const iso = new Date(record.time).toISOString();
  const at = dated ? iso : iso.slice(11, 23);
  const shares = sharesOf(record.traces).map(
    ({ deployment, replica, calls, batch, queueMs, workMs, cache }) =>
      `${replica === '' ? deployment : replica}${calls > 1 ? ` ×${calls}` : ''} batch=${batch} queue=${queueMs}ms work=${workMs}ms${cache === undefined ? '' : ` cache=${cache}`}`,
  );
  const error = record.error === undefined ? '' : ` ${record.error}`;
  const closed = record.closeCode === undefined ? '' : ` close=${record.closeCode}`;
  return `${at} ${record.method} ${printable(record.path)} ${record.status}${closed}${error} ${round(record.totalMs)}ms ${shares.join(' | ')} id=${printable(record.requestId)}\n`;
};

/** What a client wrote must not be able to forge a line or move the cursor of a terminal. */
const printable = (text: string): string => text.slice(0, 512).replaceAll(/[^\x21-\x7e]/g, '?');
