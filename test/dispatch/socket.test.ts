/** What a replica may say of a WebSocket, and what it is told: a scripted replica on one side, a recorded client on the other. */
import t from 'tap';
import type { Socket, SocketSink } from '../../src/dispatch/socket.ts';
import type { ServeError } from '../../src/domain/errors.ts';
import { FRAME, outgoing } from '../../src/protocol/frame.ts';
import { costOf, MAX_UNREAD_BYTES, segmentOf } from '../../src/protocol/websocket.ts';
import { DataPlane } from '../support/data-plane.ts';
import type { FakeReplica } from '../support/fake-replica.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

type Owner = Parameters<typeof DataPlane.start>[0];

/** Who has the client's side. */
class Client implements SocketSink {
  readonly events: string[] = [];
  socket: Socket | undefined;
  accepted(socket: Socket, protocol: string | undefined): void {
    this.socket = socket;
    this.events.push(`accepted ${protocol ?? ''}`.trim());
  }
  toClient(payload: Uint8Array, isText: boolean): void {
    this.events.push(isText ? Buffer.from(payload).toString() : `${payload.byteLength} bytes`);
  }
  closeClient(code: number, reason: string): void {
    this.events.push(`close ${code} ${reason}`.trim());
  }
  end(): void {
    this.events.push('end');
  }
  error(error: ServeError): void {
    this.events.push(`error ${error.code}`);
  }
  result(): void {
    this.events.push('result');
  }
  open(): void {
    this.events.push('open');
  }
  chunk(): void {}
}

const snapshot = (generation = 1, version = 'v1', replicas: Record<string, string> = { a1: 'app/A@v1', a2: 'app/A@v1' }) =>
  routingSnapshot(
    [applicationRouting({ generation, deployments: [deploymentRouting({ version, gracefulShutdownTimeoutMs: 20_000 })] })],
    replicas,
  );

const begin = (plane: DataPlane, client: Client, modelId?: string) =>
  plane.dispatcher.call({
    modelId,
    generation: plane.dispatcher.generation('app') as NonNullable<ReturnType<DataPlane['dispatcher']['generation']>>,
    target: { application: 'app', deployment: 'A', method: 'websocket' },
    requestId: 'r',
    value: { skeleton: 'null', segments: [] },
    http: { method: 'GET', path: '/', query: '', headers: [] },
    deadlineAt: plane.clock.now() + 1000,
    movable: true,
    sink: client,
    socketSink: client,
  });

/** One that a replica has taken. */
const taken = async (t: Owner) => {
  const plane = await DataPlane.start(t, snapshot());
  const replica = await plane.replica('a1', 'app/A', 'v1', { websockets: true });
  const client = new Client();
  const call = begin(plane, client);
  await replica.until(() => replica.batches.length === 1);
  const id = replica.lastId;
  replica.send(FRAME.SOCKET, { id });
  await replica.settled();
  return { plane, replica, client, call, id };
};

const message = (replica: FakeReplica, id: number, text: string | Uint8Array, meta: object = {}) =>
  replica.send(
    FRAME.MESSAGE,
    { id, ...(typeof text === 'string' ? { text: true } : {}), ...meta },
    [],
    [outgoing(segmentOf(typeof text === 'string' ? Buffer.from(text) : text))],
  );

t.test('SOCKET frees the place and ends the deadline; messages, closes and the end come in their order', async (t) => {
  const { plane, replica, client, call, id } = await taken(t);
  t.equal(plane.dispatcher.load().ongoing, 0);
  t.equal(plane.dispatcher.load().deployments['app/A']?.websockets, 1);
  plane.call('beside it');
  await replica.until(() => replica.batches.length === 2);
  plane.clock.advance(5000);
  message(replica, id, 'grüße');
  message(replica, id, new Uint8Array(3));
  replica.send(FRAME.CLOSE, { id, code: 4000, reason: 'done' });
  replica.end(id);
  await replica.settled();
  t.same(client.events, ['accepted', 'grüße', '3 bytes', 'close 4000 done', 'end']);
  t.equal(call?.isOver, true);
  message(replica, id, 'late');
  await replica.settled();
  t.equal(replica.closed, false, 'what comes late is ignored');
});

for (const [how, finish] of [
  ['by its code', ({ replica, id }) => replica.end(id)],
  ['by nobody who waits any more', ({ call }) => call?.abandon(undefined)],
] as const satisfies readonly (readonly [
  string,
  (of: { replica: FakeReplica; id: number; call: ReturnType<typeof begin> }) => void,
])[]) {
  t.test(`a WebSocket keeps its model in use until it is ended ${how}`, async (t) => {
    const multiplexing = { maxNumModelsPerReplica: 1, targetReplicasPerModel: 1 };
    const deployments = [deploymentRouting({ multiplexing, maxOngoingRequests: 5 })];
    const plane = await DataPlane.start(t, routingSnapshot([applicationRouting({ deployments })], { a1: 'app/A@v1' }));
    const replica = await plane.replica('a1', 'app/A', 'v1', { websockets: true });
    const call = begin(plane, new Client(), 'm');
    await replica.until(() => replica.batches.length === 1);
    const id = replica.lastId;
    replica.models({ added: ['m'] });
    replica.send(FRAME.SOCKET, { id });
    await replica.settled();
    plane.call(null, { modelId: 'other', id: 'other' });
    plane.call(null, { modelId: 'm', id: 'same' });
    await replica.settled();
    t.same(replica.requests, ['r', 'same'], 'its own model serves, and another has no place here');
    replica.result(null);
    finish({ replica, id, call });
    await replica.settled();
    t.same(replica.requests, ['r', 'same', 'other']);
  });
}

t.test(
  'what the client sends and its close reach the replica; calls in the work of the socket go on until its end',
  async (t) => {
    const { replica, client, id } = await taken(t);
    client.socket?.send(Buffer.from('hello'), true);
    client.socket?.clientClosed(1005, '');
    await replica.settled();
    t.same(replica.answers, [`MESSAGE ${id}`, `CLOSE ${id} 1005`]);
    replica.call(7, 'nobody', null, { parent: id });
    await replica.settled();
    t.match(replica.refusals[0], /graph of application app does not declare/, 'its parent is known');
    replica.end(id);
    replica.call(8, 'nobody', null, { parent: id });
    await replica.settled();
    t.match(replica.refusals[1], /is over/);
    t.same(client.events, ['accepted', 'end']);
  },
);

t.test('an ERROR in place of SOCKET refuses; behind it, it ends the socket', async (t) => {
  const { replica, client, id, plane } = await taken(t);
  replica.error('broke', [id]);
  await replica.settled();
  t.same(client.events, ['accepted', 'error USER_ERROR']);
  const other = new Client();
  begin(plane, other);
  await replica.until(() => replica.batches.length === 2);
  replica.error('not you', [replica.lastId], 'INVALID_INPUT');
  await replica.settled();
  t.same(other.events, ['error INVALID_INPUT']);
});

const nonsense: Readonly<Record<string, (replica: FakeReplica, id: number) => void>> = {
  'a text that is not UTF-8': (replica, id) => message(replica, id, new Uint8Array([0xff]), { text: true }),
  'a message without a segment': (replica, id) => replica.send(FRAME.MESSAGE, { id }),
  'a message that is a tensor': (replica, id) =>
    replica.send(FRAME.MESSAGE, { id }, [], [{ dtype: 'float32', shape: [1], parts: [new Uint8Array(4)] }]),
  'a message behind its close': (replica, id) => {
    replica.send(FRAME.CLOSE, { id, code: 1000 });
    message(replica, id, 'more');
  },
  'a message beyond its credit': (replica, id) => {
    for (let i = 0; i < 5; i++) message(replica, id, new Uint8Array(65_536));
  },
  'a code that nobody may send': (replica, id) => replica.send(FRAME.CLOSE, { id, code: 1006 }),
  'a code that is a text': (replica, id) => replica.send(FRAME.CLOSE, { id, code: '1000' }),
  'a reason of 124 bytes': (replica, id) => replica.send(FRAME.CLOSE, { id, code: 1000, reason: 'x'.repeat(124) }),
  'a second close': (replica, id) => {
    replica.send(FRAME.CLOSE, { id, code: 1000 });
    replica.send(FRAME.CLOSE, { id, code: 1000 });
  },
  'credit for what it was not sent': (replica, id) => replica.send(FRAME.CREDIT, { id, bytes: 1 }),
  'credit that is no number': (replica, id) => replica.send(FRAME.CREDIT, { id, bytes: 'all' }),
  'a result': (replica, id) => replica.result('no', [id]),
  'a SOCKET for a plain call': (replica) => replica.send(FRAME.SOCKET, { id: replica.lastId }),
  'a message before its SOCKET': (replica) => message(replica, replica.lastId, 'early'),
  'a SOCKET whose protocol is a number': (replica) => replica.send(FRAME.SOCKET, { id: replica.lastId, protocol: 1 }),
};

for (const [what, say] of Object.entries(nonsense)) {
  t.test(`a replica that says nonsense of a socket is cut off: ${what}`, async (t) => {
    const { plane, replica, client, id } = await taken(t);
    const call = plane.call('beside it');
    await replica.until(() => replica.batches.length === 2);
    say(replica, id);
    await replica.until(() => replica.closed).catch(() => {});
    t.equal(replica.closed, true);
    t.equal(client.events.at(-1), 'error REPLICA_DIED');
    const next = await plane.replica('a2');
    await next.until(() => next.batches.length === 1);
    next.result('from another');
    await call.over;
    t.same(call.events, ['result'], 'what it had not begun is handed on');
  });
}

t.test('a slow reader gets so much and no more; what it takes makes room again', async (t) => {
  const { replica, client, id } = await taken(t);
  const socket = client.socket as Socket;
  const part = Buffer.alloc(100_000);
  let sent = 0;
  while (socket.send(part, false)) sent += 1;
  t.ok(sent * costOf(part) <= MAX_UNREAD_BYTES + 2 * costOf(part) && sent * costOf(part) > MAX_UNREAD_BYTES);
  replica.send(FRAME.CREDIT, { id, bytes: sent * costOf(part) });
  await replica.settled();
  t.equal(socket.send(Buffer.alloc(8 * MAX_UNREAD_BYTES), false), true);
  t.equal(socket.send(part, false), true, 'one that is longer than the bound does not count');
});

t.test('only replicas that take WebSockets are asked', async (t) => {
  const plane = await DataPlane.start(t, snapshot());
  const old = await plane.replica('a1');
  const client = new Client();
  begin(plane, client);
  t.same(client.events, ['error INVALID_INPUT']);
  const able = await plane.replica('a2', 'app/A', 'v1', { websockets: true });
  for (let i = 0; i < 3; i++) {
    begin(plane, new Client());
    await able.until(() => able.batches.length === i + 1);
    able.send(FRAME.SOCKET, { id: able.lastId });
    await able.settled();
  }
  t.equal(old.batches.length, 0);
});

t.test('a replaced version: a socket has its drain time, then 1012, and the generation ends with it', async (t) => {
  const { plane, replica, client, id } = await taken(t);
  plane.dispatcher.apply(snapshot(2, 'v2', { a1: 'app/A@v1', b1: 'app/A@v2' }));
  const idle = () => plane.posted.filter(({ type }) => type === 'generation-idle').length;
  plane.clock.advance(18_999);
  t.same(client.events, ['accepted']);
  t.equal(idle(), 0);
  plane.clock.advance(1);
  t.same(client.events, ['accepted', 'close 1012 service restart']);
  await replica.settled();
  t.same(replica.answers, [`CLOSE ${id} 1012`]);
  plane.clock.advance(2000);
  t.same(client.events.at(-1), 'error CLIENT_CLOSED', 'code that does not end is left behind');
  t.equal(idle(), 1);
  await replica.settled();
  t.same(replica.cancelled, [id]);
});

t.test('code that goes on when its client has gone is not waited for without end', async (t) => {
  const { plane, replica, client, id } = await taken(t);
  client.socket?.clientClosed(1006, '');
  plane.clock.advance(19_999);
  t.same(client.events, ['accepted']);
  plane.clock.advance(1);
  t.same(client.events, ['accepted', 'error CLIENT_CLOSED']);
  await replica.settled();
  t.same(replica.cancelled, [id]);
  t.equal(plane.dispatcher.load().deployments['app/A']?.websockets, 0);
});

t.test('a new generation of the same version takes its sockets over', async (t) => {
  const { plane, client } = await taken(t);
  plane.dispatcher.apply(snapshot(2));
  t.equal(plane.posted.filter(({ type }) => type === 'generation-idle').length, 1);
  plane.clock.advance(60_000);
  t.same(client.events, ['accepted']);
});

t.test('a replica that is to go is idle when its sockets have ended', async (t) => {
  const { plane, replica, client, id } = await taken(t);
  plane.dispatcher.apply(snapshot(1, 'v1', {}));
  const idle = () => plane.posted.filter(({ type }) => type === 'replica-idle').length;
  t.equal(idle(), 0);
  replica.end(id);
  await replica.settled();
  t.same(client.events, ['accepted', 'end']);
  t.equal(idle(), 1);
});

t.test(
  'a replica that goes before its time has died, whatever it was to do; one that goes at about its time has not',
  async (t) => {
    const { plane, client } = await taken(t);
    plane.dispatcher.apply(snapshot(1, 'v1', {}));
    t.equal(client.socket?.leaving, undefined);
    plane.clock.advance(17_999);
    t.equal(client.socket?.leaving, undefined);
    plane.clock.advance(1);
    t.equal(client.socket?.leaving, 1012);
  },
);

t.test('an upgrade that its replica takes when it is already to go has the drain time like any other', async (t) => {
  const plane = await DataPlane.start(t, snapshot());
  const replica = await plane.replica('a1', 'app/A', 'v1', { websockets: true });
  const client = new Client();
  begin(plane, client);
  await replica.until(() => replica.batches.length === 1);
  plane.dispatcher.apply(snapshot(2, 'v2', { b1: 'app/A@v2' }));
  replica.send(FRAME.SOCKET, { id: replica.lastId });
  await replica.settled();
  plane.clock.advance(18_999);
  t.same(client.events, ['accepted']);
  plane.clock.advance(1);
  t.same(client.events, ['accepted', 'close 1012 service restart']);
});
