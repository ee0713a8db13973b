import t from 'tap';
import { runHeader, takeRunReport } from '../../src/protocol/run-report.ts';

const REPORT = { version: '3 b', rows: 2, runRows: 5, inputMs: 0.5, inferMs: 1e-7, outputMs: 0 };

t.test('a report comes out of the headers as it went in', async (t) => {
  t.same(takeRunReport(['a', '1', ...runHeader(REPORT), 'b', '2']), { report: REPORT, headers: ['a', '1', 'b', '2'] });
  t.same(takeRunReport(['a', '1']), { report: undefined, headers: ['a', '1'] });
});

t.test('what is no report is taken out and not counted: a replica may send anything', async (t) => {
  for (const value of ['', '1 1 1 1 1', '2 1 0 0 0 v', '0 1 0 0 0 v', 'NaN 1 0 0 0 v', '1 1 -1 0 0 v', '1 1 Infinity 0 0 v'])
    t.same(takeRunReport(['x-serve-run', value]), { report: undefined, headers: [] }, value);
});
