/**
 * What running a model for one request cost, as a replica tells it in a header of its answer. The daemon counts it for the statistics
 * of the Open Inference Protocol, and takes it out before the answer goes to a client. Pure.
 */

export interface RunReport {
  /** Of the model. */
  readonly version: string;
  /** Size of axis 0 of this request; 1 where nothing is stacked. */
  readonly rows: number;
  /** Of all requests that ran together with it. */
  readonly runRows: number;
  readonly inputMs: number;
  /** Of the whole run. */
  readonly inferMs: number;
  readonly outputMs: number;
}

const NAME = 'x-serve-run';

export const runHeader = ({ version, rows, runRows, inputMs, inferMs, outputMs }: RunReport): readonly string[] => [
  NAME,
  [rows, runRows, inputMs, inferMs, outputMs, version].map(String).join(' '),
];

/** The report, and the headers without it; a replica may have sent anything. */
export const takeRunReport = (headers: readonly string[]): { report: RunReport | undefined; headers: readonly string[] } => {
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at] !== NAME) continue;
    const rest = [...headers.slice(0, at), ...headers.slice(at + 2)];
    return { report: reportOf(headers[at + 1] ?? ''), headers: rest };
  }
  return { report: undefined, headers };
};

const reportOf = (text: string): RunReport | undefined => {
  const parts = text.split(' ');
  const numbers = parts.slice(0, 5).map(Number);
  if (parts.length < 6 || numbers.some((each) => !Number.isFinite(each) || each < 0)) return undefined;
  const [rows, runRows, inputMs, inferMs, outputMs] = numbers as [number, number, number, number, number];
  if (rows < 1 || runRows < rows) return undefined;
  return { version: parts.slice(5).join(' '), rows, runRows, inputMs, inferMs, outputMs };
};
