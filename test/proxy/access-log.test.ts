import t from 'tap';
import { type AccessRecord, jsonLine, sharesOf, textLine } from '../../src/proxy/access-log.ts';

const trace = (deployment: string, queueMs: number, batchSize = 1) => ({
  deployment,
  replica: `${deployment}/1`,
  batchSize,
  queueMs,
  workMs: 2,
});
const record = (given: Partial<AccessRecord> = {}): AccessRecord => ({
  time: 0,
  requestId: 'id',
  method: 'POST',
  path: '/a',
  application: 'app',
  route: '/',
  status: 200,
  totalMs: 1.23456,
  traces: [],
  ...given,
});

t.test('calls of one deployment are one share: their number, the longest wait, the largest batch', async (t) => {
  t.same(sharesOf([trace('A', 1), trace('B', 5), trace('A', 7.12345, 4)]), [
    { deployment: 'A', replica: 'A/1', calls: 2, batch: 4, queueMs: 7.12, workMs: 2, cache: undefined },
    { deployment: 'B', replica: 'B/1', calls: 1, batch: 1, queueMs: 5, workMs: 2, cache: undefined },
  ]);
});

t.test('a JSON line is one line of JSON', async (t) => {
  const line = jsonLine(record({ path: '/a\nb', error: 'QUEUE_FULL' }));
  t.equal(line.split('\n').length, 2);
  t.match(JSON.parse(line), { path: '/a\nb', ms: 1.23, error: 'QUEUE_FULL', deployments: [], status: 200 });
});

t.test('what a response cache did is told where there is one', async (t) => {
  const hit = { ...trace('A', 0), replica: '', cache: 'hit' as const };
  t.match(JSON.parse(jsonLine(record({ traces: [hit, hit] }))), { deployments: [{ cache: 'hit', calls: 2 }] });
  t.match(JSON.parse(jsonLine(record({ traces: [hit, { ...hit, cache: 'miss' }] }))), { deployments: [{ cache: 'mixed' }] });
  t.match(textLine(record({ traces: [hit] })), /1\.23ms A batch=1 queue=0ms work=2ms cache=hit id=/);
  t.notMatch(jsonLine(record({ traces: [trace('A', 0)] })), /cache/);
});

t.test('a WebSocket is told at its end, with what it was closed with', async (t) => {
  const closed = record({ method: 'GET', status: 101, closeCode: 1001 });
  t.match(JSON.parse(jsonLine(closed)), { status: 101, closeCode: 1001 });
  t.match(textLine(closed), / GET \/a 101 close=1001 1\.23ms /);
});

t.test('nothing that a client writes forges a line or moves a cursor', async (t) => {
  const evil = 'x\n00:00:00.000 GET / 200\u001b[2J';
  for (const line of [textLine(record({ path: evil })), textLine(record({ requestId: evil }))]) {
    t.equal(line.split('\n').length, 2);
    t.notOk(line.includes('\u001b'));
  }
});
