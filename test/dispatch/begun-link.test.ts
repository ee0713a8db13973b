/** What was begun is known even when the socket of the calls breaks: it is told on a socket that nobody writes to. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { encodeFrame, FRAME, PROTOCOL_VERSION } from '../../src/protocol/frame.ts';
import { DataPlane } from '../support/data-plane.ts';
import { applicationRouting, deploymentRouting, routingSnapshot } from '../support/routing.ts';

const start = (t: Parameters<typeof DataPlane.start>[0], maxOngoingRequests = 4) =>
  DataPlane.start(
    t,
    routingSnapshot([applicationRouting({ deployments: [deploymentRouting({ maxOngoingRequests })] })], {
      a1: 'app/A@v1',
      a2: 'app/A@v1',
    }),
  );

/** The third socket of a replica, as `docs/replica-protocol.md` has it. */
const openBegun = async (plane: DataPlane, id: string): Promise<Socket> => {
  const socket = connect(plane.path);
  // Its end is told as an error where words stand unread.
  socket.on('error', () => {});
  await once(socket, 'connect');
  const token = plane.token(id, 'app/A', 'v1');
  for (const buffer of encodeFrame(FRAME.HELLO, { protocol: PROTOCOL_VERSION, replica: id, token, link: 'begun' }))
    socket.write(buffer);
  await once(socket, 'data');
  return socket;
};

const tell = (socket: Socket, ids: readonly number[]): void => {
  for (const buffer of encodeFrame(FRAME.BEGUN, { ids })) socket.write(buffer);
};

t.test(
  'a request that was begun there is not given to another replica, although the socket of the calls broke first',
  async (t) => {
    const plane = await start(t);
    const one = await plane.replica('a1');
    const begun = await openBegun(plane, 'a1');
    const [first, second] = [plane.call('begun'), plane.call('not begun')];
    await one.until(() => one.requests.length === 2);
    const two = await plane.replica('a2');
    // The calls' socket ends first; what was told on the other one is still on its way.
    await one.die();
    tell(begun, [one.batches[0]?.ids[0] as number]);
    begun.end();
    await first.over;
    t.same(first.events, ['error REPLICA_DIED']);
    await two.until(() => two.requests.length === 1);
    t.same(two.requests, ['r2']);
    two.result('done');
    await second.over;
    t.same(second.events, ['result']);
  },
);

t.test('anything but BEGUN there ends the replica', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1');
  const begun = await openBegun(plane, 'a1');
  for (const buffer of encodeFrame(FRAME.PONG, {})) begun.write(buffer);
  await one.until(() => one.closed);
  t.ok(plane.posted.some((message) => message.type === 'link-down'));
});

t.test('what was told and not yet read counts when the replica dies', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1');
  const begun = await openBegun(plane, 'a1');
  const calls = ['first', 'second', 'third'].map((each) => plane.call(each));
  await one.until(() => one.requests.length === 3);
  // Each on its own: the daemon does not read on after the first.
  for (const { ids } of one.batches) {
    tell(begun, ids);
    await one.settled();
  }
  begun.destroy();
  await one.die();
  await Promise.all(calls.map(({ over }) => over));
  t.same(
    calls.map(({ events }) => events.join()),
    ['error REPLICA_DIED', 'error REPLICA_DIED', 'error REPLICA_DIED'],
  );
});

t.test('a replica never waits for the daemon to read what it tells', async (t) => {
  const plane = await start(t);
  const one = await plane.replica('a1');
  const begun = await openBegun(plane, 'a1');
  for (let round = 1; round <= 1000; round++) {
    const call = plane.call('one of many');
    await one.until(() => one.requests.length === round);
    tell(begun, one.last.ids);
    if (begun.writableLength > 0) return t.fail(`the kernel had no room for word ${round}`);
    one.result('done');
    await call.over;
  }
  t.pass();
});

t.test('nor where it has a great many calls at once', async (t) => {
  const plane = await start(t, 1000);
  const one = await plane.replica('a1');
  const begun = await openBegun(plane, 'a1');
  const calls = Array.from({ length: 600 }, () => plane.call('one of many'));
  await one.until(() => one.requests.length === calls.length);
  for (const [index, { ids }] of one.batches.entries()) {
    tell(begun, ids);
    // The daemon gets its turns.
    if (index % 50 === 0) await one.settled();
  }
  t.equal(begun.writableLength, 0);
});
