/** `GET /api/serve/logs`: the last lines of the log, of all or of one application or deployment, one JSON object a line. */
import { AdminError, type Route } from './route.ts';

export interface LogSource {
  readonly lines: readonly string[];
  follow(read: (line: string) => void): () => void;
}

const DEFAULT_LINES = 100;

export const logsRoute = (log: () => LogSource): Route => ({
  method: 'GET',
  path: '/api/serve/logs',
  handle: ({ query }) => {
    const wanted = query.get('lines') ?? String(DEFAULT_LINES);
    if (!/^\d{1,6}$/.test(wanted)) throw new AdminError(400, `expected lines to be a number, got ${wanted}`);
    const isOf = filterOf(query.get('application'), query.get('deployment'));
    return {
      type: 'application/x-ndjson',
      follow: (out) => {
        const { lines } = log();
        const last = lines.filter(isOf).slice(-Number(wanted) || lines.length);
        if (Number(wanted) > 0) out.write(last.join(''));
        if (query.get('follow') !== null && query.get('follow') !== '0')
          return log().follow((line) => isOf(line) && out.write(line));
        out.end();
        return () => {};
      },
    };
  },
});

/** A replica's id begins with its application and deployment. */
const filterOf = (application: string | null, deployment: string | null): ((line: string) => boolean) => {
  if (application === null && deployment === null) return () => true;
  return (line) => {
    const { replica, application: named } = JSON.parse(line) as { replica?: unknown; application?: unknown };
    const [app, name] = typeof replica === 'string' ? replica.split('/') : [named];
    return (application === null || app === application) && (deployment === null || name === deployment);
  };
};
