/** The listener under load while its address, its certificate and its driver change: over real sockets, on both drivers. */

import { readFileSync } from 'node:fs';
import { Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent as SecureAgent, request as secureRequest } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import t, { type Test } from 'tap';
import type { ProxySpec } from '../../src/domain/desired.ts';
import type { FromDataPlane } from '../../src/domain/snapshot.ts';
import type { HttpExchange } from '../../src/proxy/http-server.ts';
import { Certificates } from '../support/certificates.ts';
import { OPEN_DOOR } from '../support/open-door.ts';
import { proxySpec } from '../support/routing.ts';

process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(16 * 1024);
const { chooseDriver } = await import('../../src/proxy/http-driver.ts');
const { Listener } = await import('../../src/proxy/listener.ts');

t.setTimeout(120_000);

const made = new Certificates().self('a').self('b');
t.teardown(() => made.remove());
const trusted = ['a', 'b'].map((name) => readFileSync(made.path(`${name}.crt`)));

const uws = await Promise.resolve()
  .then(() => chooseDriver('uws'))
  .catch(() => undefined);
const KINDS = uws === undefined ? (['node'] as const) : (['uws', 'node'] as const);

/** Ports that nobody has now. */
const freePorts = async (count: number): Promise<number[]> => {
  const holders = await Promise.all(Array.from({ length: count }, () => hold(0)));
  return Promise.all(
    holders.map(async (holder) => {
      const { port } = holder.address() as AddressInfo;
      await new Promise((resolve) => holder.close(resolve));
      return port;
    }),
  );
};

const hold = (port: number): Promise<Server> =>
  new Promise((resolve, reject) => {
    const holder = createServer((socket) => socket.destroy());
    holder.once('error', reject);
    holder.listen(port, '127.0.0.1', () => resolve(holder));
  });

const turn = (ms = 5): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Rig {
  readonly told: FromDataPlane[] = [];
  /** Streams that wait to be ended, by path. */
  readonly open = new Map<string, HttpExchange>();
  readonly limits = { maxHeaderBytes: 16_384, maxRequestBodyBytes: 1e6, keepAliveTimeoutMs: 60_000, draining: false };
  readonly listener: InstanceType<typeof Listener>;
  #attempt = 0;

  constructor(t: Test) {
    this.listener = new Listener({
      handler: (exchange) => exchange.body(() => this.#handle(exchange)),
      limits: () => this.limits,
      door: OPEN_DOOR,
      post: (message) => this.told.push(message),
    });
    t.teardown(() => this.listener.destroy());
  }

  #handle(exchange: HttpExchange): void {
    if (!exchange.path.startsWith('/stream')) return void setTimeout(() => exchange.respond(200, [], exchange.path), 2);
    exchange.begin(200, []);
    exchange.write('first ');
    this.open.set(exchange.path, exchange);
  }

  /** Wants it, and waits for the next word of the listener (all of it is done then). */
  async want(given: Partial<ProxySpec>, attempt = ++this.#attempt): Promise<FromDataPlane | undefined> {
    const before = this.told.length;
    this.limits.maxHeaderBytes = given.maxHeaderBytes ?? 16_384;
    this.listener.follow({ proxy: proxySpec(given), attempt });
    await this.listener.settled;
    return this.told.slice(before).at(-1);
  }

  get at(): { port: number; secure: boolean; driver: string } {
    const last = this.told.findLast((each) => each.type === 'listening');
    if (last?.type !== 'listening') throw new Error('it listens nowhere');
    return last;
  }
}

interface Where {
  readonly port: number;
  readonly secure: boolean;
}

const ask = (
  { port, secure }: Where,
  path: string,
  agent: PlainAgent | SecureAgent | false,
): Promise<{ text: string; closes: boolean; subject: string }> =>
  new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, ca: trusted, agent };
    const outgoing = (secure ? secureRequest : plainRequest)(options, (incoming) => {
      let text = '';
      const socket = incoming.socket as { getPeerCertificate?: () => { subject?: { CN?: string } } };
      const subject = socket.getPeerCertificate?.().subject?.CN ?? '';
      incoming.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      incoming.on('error', reject).on('aborted', () => reject(new Error('the answer was cut off')));
      incoming.on('end', () => resolve({ text, closes: incoming.headers.connection === 'close', subject }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });

/** Clients that ask all the time: some on a new connection each, some on one until they are told that it closes. */
class Clients {
  readonly wrong: string[] = [];
  readonly subjects = new Set<string>();
  fresh = 0;
  kept = 0;
  #going = true;
  readonly #all: Promise<void>[];
  readonly #where: () => Where;

  constructor(where: () => Where, count = 8) {
    this.#where = where;
    this.#all = Array.from({ length: count }, (_, at) => (at % 2 === 0 ? this.#onNew(at) : this.#onKept(at)));
  }

  async #once(where: Where, path: string, agent: PlainAgent | SecureAgent | false): Promise<boolean> {
    try {
      const { text, closes, subject } = await ask(where, path, agent);
      if (text !== path) this.wrong.push(`${path}: ${text}`);
      this.subjects.add(subject);
      return closes;
    } catch (error) {
      this.wrong.push(`${path}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`);
      await turn();
      return true;
    }
  }

  async #onNew(at: number): Promise<void> {
    for (let n = 0; this.#going; n++) {
      await this.#once(this.#where(), `/new/${at}/${n}`, false);
      this.fresh++;
    }
  }

  async #onKept(at: number): Promise<void> {
    for (let n = 0; this.#going; ) {
      const where = this.#where();
      const agent = where.secure
        ? new SecureAgent({ keepAlive: true, maxSockets: 1 })
        : new PlainAgent({ keepAlive: true, maxSockets: 1 });
      let closes = false;
      while (!closes && this.#going) {
        closes = await this.#once(where, `/kept/${at}/${n++}`, agent);
        this.kept++;
        // Idle for a moment: what closes idle connections under them shows.
        if (n % 4 === 0) await turn(40);
      }
      agent.destroy();
    }
  }

  async more(fresh: number): Promise<void> {
    const wanted = this.fresh + fresh;
    while (this.fresh < wanted) await turn();
  }

  async stop(): Promise<void> {
    this.#going = false;
    await Promise.all(this.#all);
  }
}

/** Begins a streamed answer, and gives its whole text when `end` was called. */
const stream = async (rig: Rig, where: Where, path: string) => {
  const whole = ask(where, path, false).then(
    ({ text }) => text,
    (error: Error) => `cut: ${error.message}`,
  );
  while (!rig.open.has(path)) await turn();
  return (): Promise<string> => {
    rig.open.get(path)?.write('last');
    rig.open.get(path)?.end();
    return whole;
  };
};

for (const kind of KINDS) {
  t.test(`${kind}: the port moves back and forth under load: nothing is refused, reset or cut`, async (t) => {
    const rig = new Rig(t);
    const ports = await freePorts(2);
    await rig.want({ server: kind, port: ports[0] as number });
    const streams = [await stream(rig, rig.at, '/stream/0')];
    const clients = new Clients(() => rig.at);
    for (let move = 1; move <= 30; move++) {
      const port = ports[move % 2] as number;
      t.match(await rig.want({ server: kind, port }), { type: 'listening', port });
      if (move % 10 === 0) streams.push(await stream(rig, rig.at, `/stream/${move}`));
      // The longer waits outlast the time that an old port is accepted on.
      if (move % 15 === 0) await turn(1300);
      await clients.more(20);
    }
    await clients.more(Math.max(0, 1000 - clients.fresh));
    await clients.stop();
    t.same(clients.wrong, []);
    t.ok(clients.fresh >= 1000 && clients.kept > 100, `${clients.fresh} new connections, ${clients.kept} answers on kept ones`);
    for (const end of streams) t.equal(await end(), 'first last', 'a streamed answer ends properly on the old listener');
  });

  t.test(`${kind}: the old port refuses, and only after the new one accepts`, async (t) => {
    const rig = new Rig(t);
    const [from, to] = (await freePorts(2)) as [number, number];
    await rig.want({ server: kind, port: from });
    await rig.want({ server: kind, port: to });
    t.equal((await ask({ port: to, secure: false }, '/to', false)).text, '/to');
    const last = await ask({ port: from, secure: false }, '/from', false);
    t.match(last, { text: '/from', closes: true }, 'who has just looked up the old one is not turned away');
    for (;;) {
      const answer = await ask({ port: from, secure: false }, '/from', false).catch((error: NodeJS.ErrnoException) => error);
      if (!(answer instanceof Error)) continue;
      t.match(answer, { code: /ECONNREFUSED|ECONNRESET/ });
      break;
    }
    t.equal((await ask({ port: to, secure: false }, '/to', false)).text, '/to');
  });

  t.test(`${kind}: the certificate changes 50 times under load: every handshake and answer succeeds`, async (t) => {
    const rig = new Rig(t);
    await rig.want({ server: kind, tls: made.spec('a') });
    const end = await stream(rig, rig.at, '/stream');
    const clients = new Clients(() => rig.at, 6);
    for (let change = 1; change <= 50; change++) {
      await rig.want({ server: kind, tls: made.spec(change % 2 === 0 ? 'a' : 'b') });
      await clients.more(8);
    }
    await clients.stop();
    t.same(clients.wrong, []);
    t.same([...clients.subjects].sort(), ['a', 'b']);
    t.ok(clients.fresh >= 400, `${clients.fresh} new connections`);
    t.equal((await ask(rig.at, '/', false)).subject, 'a', 'the last one is served');
    t.equal(await end(), 'first last');
    t.equal(rig.told.filter(({ type }) => type === 'listening').length, 1, 'the address never changed');
  });

  t.test(`${kind}: a port that is taken: the old listener goes on; free, the next attempt moves`, async (t) => {
    const rig = new Rig(t);
    await rig.want({ server: kind });
    const { port } = rig.at;
    const holder = await hold(0);
    const taken = (holder.address() as AddressInfo).port;
    t.match(await rig.want({ server: kind, port: taken }, 7), { type: 'listen-failed', code: 'EADDRINUSE' });
    t.equal(await rig.want({ server: kind, port: taken }, 7), undefined, 'the same attempt is not made again');
    t.equal((await ask({ port, secure: false }, '/still', false)).text, '/still');
    await new Promise((resolve) => holder.close(resolve));
    t.match(await rig.want({ server: kind, port: taken }, 8), { type: 'listening', port: taken });
    t.equal((await ask(rig.at, '/moved', false)).text, '/moved');
  });

  t.test(`${kind}: taken back before it was free, the failure is over`, async (t) => {
    const rig = new Rig(t);
    const [own] = (await freePorts(1)) as [number];
    await rig.want({ server: kind, port: own });
    const holder = await hold(0);
    t.teardown(() => holder.close());
    await rig.want({ server: kind, port: (holder.address() as AddressInfo).port });
    t.match(await rig.want({ server: kind, port: own }), { type: 'listening', port: own });
  });

  t.test(`${kind}: Disabled and back: what is in work is answered, nothing new is taken, and the port comes back`, async (t) => {
    const rig = new Rig(t);
    const [port] = (await freePorts(1)) as [number];
    await rig.want({ server: kind, port });
    const end = await stream(rig, rig.at, '/stream');
    t.match(await rig.want({ enabled: false, server: kind, port }), { type: 'not-listening' });
    await t.rejects(ask({ port, secure: false }, '/', false), { code: 'ECONNREFUSED' });
    t.equal(await end(), 'first last');
    t.match(await rig.want({ server: kind, port }), { type: 'listening', port });
    t.equal((await ask(rig.at, '/back', false)).text, '/back');
  });

  t.test(`${kind}: HTTP becomes HTTPS and back on one port; answers under way end`, async (t) => {
    const rig = new Rig(t);
    const [port] = (await freePorts(1)) as [number];
    await rig.want({ server: kind, port });
    for (let turn = 0; turn < 4; turn++) {
      const end = await stream(rig, rig.at, `/stream/${turn}`);
      const secure = turn % 2 === 0;
      t.match(await rig.want({ server: kind, port, tls: secure ? made.spec('a') : null }), { type: 'listening', port, secure });
      t.equal((await ask(rig.at, '/now', false)).text, '/now');
      t.equal(await end(), 'first last');
    }
  });

  t.test(`${kind}: every address and back on one port; answers under way end`, async (t) => {
    const rig = new Rig(t);
    const [port] = (await freePorts(1)) as [number];
    const ends: (() => Promise<string>)[] = [];
    for (const host of ['127.0.0.1', '0.0.0.0', 'localhost', '127.0.0.1']) {
      const path = `/stream/${ends.length}`;
      t.match(await rig.want({ server: kind, port, host }), { type: 'listening', port, host });
      const end = await stream(rig, rig.at, path);
      t.equal((await ask(rig.at, '/now', false)).text, '/now');
      ends.push(end);
    }
    for (const end of ends) t.equal(await end(), 'first last');
  });

  t.test(`${kind}: a certificate that cannot be served leaves the one in force`, async (t) => {
    const rig = new Rig(t);
    await rig.want({ server: kind, tls: made.spec('a') });
    t.match(await rig.want({ server: kind, tls: made.spec('a', { keyFile: made.path('b.key') }) }), { type: 'listen-failed' });
    t.equal((await ask(rig.at, '/', false)).subject, 'a');
    t.match(await rig.want({ server: kind, tls: made.spec('b') }), { type: 'listening' }, 'mended, and told so');
    t.equal((await ask(rig.at, '/', false)).subject, 'b');
  });

  t.test(`${kind}: shorter headers are in force at once`, async (t) => {
    const rig = new Rig(t);
    await rig.want({ server: kind });
    const path = `/${'x'.repeat(5000)}`;
    t.equal((await ask(rig.at, path, false)).text, path);
    await rig.want({ server: kind, maxHeaderBytes: 4096 });
    t.match((await ask(rig.at, path, false)).text, /max_header_size/);
    await rig.want({ server: kind });
    t.equal((await ask(rig.at, path, false)).text, path);
  });
}

t.test(
  'the driver changes on one port: what is in work is answered, and the new one listens there',
  { skip: uws === undefined },
  async (t) => {
    const rig = new Rig(t);
    const [port] = (await freePorts(1)) as [number];
    await rig.want({ server: 'uws', port });
    for (const [server, driver] of [
      ['node', 'node:http'],
      ['uws', 'uWebSockets.js'],
      ['node', 'node:http'],
      ['auto', 'uWebSockets.js'],
    ] as const) {
      const end = await stream(rig, rig.at, `/stream/${rig.told.length}`);
      const agent = new PlainAgent({ keepAlive: true, maxSockets: 1 });
      t.teardown(() => agent.destroy());
      t.equal((await ask(rig.at, '/kept', agent)).text, '/kept');
      t.match(await rig.want({ server, port }), { type: 'listening', port, driver });
      t.equal((await ask(rig.at, '/new', false)).text, '/new');
      t.match(
        await ask(rig.at, '/kept', agent),
        { text: '/kept', closes: true },
        'an idle connection of before is answered once more',
      );
      t.equal(await end(), 'first last');
    }
  },
);

t.test(
  'the driver changes and the address is not to be had: the old driver is back on the old one',
  { skip: uws === undefined },
  async (t) => {
    const rig = new Rig(t);
    const [port] = (await freePorts(1)) as [number];
    await rig.want({ server: 'uws', port });
    const broken = made.spec('a', { keyFile: made.path('b.key') });
    t.match(await rig.want({ server: 'node', port, tls: broken }), { type: 'listen-failed' });
    t.equal((await ask({ port, secure: false }, '/', false)).text, '/');
    t.match(await rig.want({ server: 'node', port }), { type: 'listening', driver: 'node:http' });
  },
);
