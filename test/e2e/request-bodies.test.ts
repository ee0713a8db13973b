/** Request bodies that code with `fetch` reads as they come: backpressure, limits, both sides leaving, deaths, memory. On both drivers. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import { configOf, HEAD, single } from './configs.ts';

t.setTimeout(180_000);

const MIB = 1024 * 1024;

const CODE = `import { createHash } from 'node:crypto';
import { appendFileSync, existsSync } from 'node:fs';

/** What became of each request, for the test to read. */
const noted = new Map();
export class Code {
  async fetch(request, context) {
    const path = new URL(request.url).pathname;
    const key = request.headers.get('x-key');
    const note = (text) => noted.set(key, [...(noted.get(key) ?? []), text]);
    if (path.endsWith('/notes')) return Response.json(noted.get(key) ?? []);
    if (path.endsWith('/echo')) return new Response(request.body);
    if (path.endsWith('/text')) return new Response(await request.text());
    if (path.endsWith('/early')) return new Response('not read', { status: 202 });
    if (path.endsWith('/early-empty')) return new Response(null, { status: 202 });
    if (path.endsWith('/first')) {
      const { value } = await request.body.getReader().read();
      return new Response('got ' + value[0]);
    }
    if (path.endsWith('/hangs')) {
      if (!request.signal.aborted) await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
      note('aborted');
      return new Response('nobody waits');
    }
    if (path.endsWith('/dies')) {
      const reader = request.body.getReader();
      if (key === 'read') await reader.read();
      appendFileSync(process.env.DEATHS, key + '\\n');
      process.exit(1);
    }
    const hash = createHash('sha256');
    let bytes = 0;
    note('began');
    request.signal.addEventListener('abort', () => note('signal'));
    try {
      for await (const piece of request.body) {
        hash.update(piece);
        bytes += piece.length;
        if (noted.get(key).length === 1) note('first piece');
        while (path.endsWith('/held') && !existsSync(process.env.GATE)) await new Promise((resolve) => setTimeout(resolve, 10));
      }
    } catch (error) {
      note('broke: ' + error.message);
      throw error;
    }
    note('read');
    return Response.json({ bytes, sha256: hash.digest('hex') });
  }
}
/** Gets a body whole, as ever. */
export async function whole(input) { return String(input.length); }
`;

const config = (server: string): string =>
  configOf(
    [
      single('code', '/code', { import_path: './code.ts:Code' }),
      single('one', '/one', { import_path: './code.ts:Code', max_ongoing_requests: 1 }),
      single('short', '/short', { import_path: './code.ts:Code', request_timeout_s: 1 }),
      single('again', '/again', { import_path: './code.ts:Code', num_replicas: 2, retry: { idempotent: true, max_attempts: 2 } }),
      single('whole', '/whole', { import_path: './code.ts:whole' }),
    ],
    HEAD.replace('port: 0}', `port: 0, server: ${server}, max_request_body: 160MiB}`),
  );

/** A request whose body the test writes piece by piece. */
const open = (
  daemon: DaemonRig,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): { readonly out: ClientRequest; readonly answer: Promise<IncomingMessage> } => {
  const out = request(daemon.url + path, { method: 'POST', headers, agent: false });
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    out.on('response', resolve);
    out.on('error', reject);
  });
  answer.catch(() => {});
  out.flushHeaders();
  return { out, answer };
};

const textOf = async (incoming: IncomingMessage): Promise<string> => {
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
};

const written = (out: ClientRequest, bytes: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    // Node's client ends its side when an answer says that the connection closes, and then tells nothing of what it was to write.
    const closed = () => reject(new Error('the connection is closed'));
    out.once('close', closed);
    out.write(bytes, (error) => {
      out.off('close', closed);
      if (error) reject(error);
      else resolve();
    });
  });

/** So that no 512 KiB are there at a time: what comes faster than it can read, uWebSockets.js reads on although it was told to stop. */
const slowly = async (out: ClientRequest, bytes: Uint8Array): Promise<void> => {
  for (let at = 0; at < bytes.length; at += 128 * 1024) {
    await written(out, bytes.subarray(at, at + 128 * 1024));
    await pause(1);
  }
};

const notes = async (daemon: DaemonRig, key: string, path = '/code/notes'): Promise<readonly string[]> =>
  JSON.parse((await daemon.ask(path, { headers: { 'x-key': key } })).text) as string[];

const residentMib = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: bodies as they come`, async (t) => {
    const folder = t.testdir({});
    const gate = `${folder}/gate`;
    const deaths = `${folder}/deaths`;
    await using daemon = await startDaemon(config(server), {
      files: { 'code.ts': CODE },
      env: { GATE: gate, DEATHS: deaths },
    });
    const { writeFileSync, rmSync } = await import('node:fs');

    for (const chunked of [true, false]) {
      const how = chunked ? 'chunked' : 'with its length';
      const length = (bytes: number): Record<string, string> => (chunked ? {} : { 'content-length': String(bytes) });

      await t.test(`a body ${how} is read before it is complete`, async (t) => {
        const key = `read ${how}`;
        const { out, answer } = open(daemon, '/code', { 'x-key': key, ...length(200_000) });
        await until('the code runs before any of the body has come', async () => (await notes(daemon, key)).length === 1);
        out.write(Buffer.alloc(100_000, 'a'));
        await until('the code has a piece before the rest has come', async () => (await notes(daemon, key)).length === 2);
        out.end(Buffer.alloc(100_000, 'b'));
        const sha256 = createHash('sha256').update('a'.repeat(100_000)).update('b'.repeat(100_000)).digest('hex');
        t.same(JSON.parse(await textOf(await answer)), { bytes: 200_000, sha256 });
      });

      await t.test(`a request ${how} whose client leaves in the middle of it breaks in the code`, async (t) => {
        const key = `left ${how}`;
        const { out } = open(daemon, '/code', { 'x-key': key, ...length(200_000) });
        out.on('error', () => {});
        out.write(Buffer.alloc(100_000));
        await until('the code has a piece', async () => (await notes(daemon, key)).length === 2);
        out.destroy();
        const all = await until('its body breaks', async () => {
          const seen = await notes(daemon, key);
          return seen.length === 4 && seen;
        });
        t.match(all.slice(2).sort(), [/^broke: the caller has gone/, 'signal']);
      });

      await t.test(`code that does not read a body ${how} is heard before the body is complete`, async (t) => {
        for (const path of ['/code/early', '/code/early-empty']) {
          const { out, answer } = open(daemon, path, length(30 * MIB));
          out.on('error', () => {});
          out.write(Buffer.alloc(MIB));
          const incoming = await answer;
          t.equal(incoming.statusCode, 202);
          t.equal(await textOf(incoming), path.endsWith('empty') ? '' : 'not read');
          out.destroy();
        }
      });

      await t.test(`a client that sends all of a body ${how} although nobody reads it gets its answer`, async (t) => {
        const { out, answer } = open(daemon, '/code/early', length(8 * MIB));
        const sent = (async () => {
          for (let i = 0; i < 8; i++) await written(out, Buffer.alloc(MIB));
          out.end();
        })().catch(() => {});
        t.equal((await answer).statusCode, 202);
        t.equal(await textOf(await answer), 'not read');
        await sent;
      });

      await t.test(`an answer streams while the body ${how} still comes`, async (t) => {
        const { out, answer } = open(daemon, '/code/echo', length(300_000));
        out.write(Buffer.alloc(100_000, 'a'));
        const incoming = await answer;
        let echoed = 0;
        const over = new Promise<void>((resolve, reject) => {
          incoming.on('data', (part: Buffer) => {
            echoed += part.length;
          });
          incoming.on('end', resolve);
          incoming.on('aborted', () => reject(new Error('cut off')));
        });
        await until('the first part is back', () => echoed === 100_000);
        out.write(Buffer.alloc(100_000, 'b'));
        await until('the second part is back', () => echoed === 200_000);
        out.end(Buffer.alloc(100_000, 'c'));
        await over;
        t.equal(echoed, 300_000);
      });

      await t.test(`slow code holds back the client that sends a body ${how}`, async (t) => {
        rmSync(gate, { force: true });
        const key = `held ${how}`;
        const { out, answer } = open(daemon, '/code/held', { 'x-key': key, ...length(128 * MIB) });
        const piece = Buffer.alloc(MIB, 'x');
        let sent = 0;
        const sending = (async () => {
          for (; sent < 128; sent++) await slowly(out, piece);
          out.end();
        })();
        await until('the code has a piece', async () => (await notes(daemon, key)).length === 2);
        // Nothing tells that a client will go on waiting: it is so when nothing has moved for a while.
        let before = -1;
        while (before !== sent) {
          before = sent;
          await pause(300);
        }
        // The kernel's buffers take some: on some machines up to 32 MiB.
        t.ok(sent < 64, `${sent} MiB were taken of a body that nobody read`);
        // The library closes an idle connection after 10 s; one that we do not read is not idle.
        if (server === 'uws' && chunked) await pause(13_000);
        writeFileSync(gate, '');
        await sending;
        const hash = createHash('sha256');
        for (let i = 0; i < 128; i++) hash.update(piece);
        t.same(JSON.parse(await textOf(await answer)), { bytes: 128 * MIB, sha256: hash.digest('hex') });
      });
    }

    await t.test('64 MiB go through an echo to a slow reader, and the daemon holds little of it', async (t) => {
      await daemon.ask('/code/echo', { method: 'POST', body: 'warm' });
      const idle = residentMib(daemon.pid);
      let most = 0;
      const { out, answer } = open(daemon, '/code/echo');
      const piece = Buffer.alloc(MIB, 'y');
      const sending = (async () => {
        for (let i = 0; i < 64; i++) await slowly(out, piece);
        out.end();
      })();
      let bytes = 0;
      for await (const part of await answer) {
        const before = Math.floor(bytes / MIB);
        bytes += (part as Buffer).length;
        if (Math.floor(bytes / MIB) === before) continue;
        most = Math.max(most, residentMib(daemon.pid));
        await pause(10);
      }
      await sending;
      t.equal(bytes, 64 * MIB);
      t.ok(most - idle < 40, `${Math.round(most - idle)} MiB more than idle`);
    });

    await t.test('a body beyond the limit is refused in the middle of it, and breaks in the code', async (t) => {
      const key = 'large';
      const { out, answer } = open(daemon, '/code', { 'x-key': key });
      out.on('error', () => {});
      void (async () => {
        for (let i = 0; i < 161; i++) await written(out, Buffer.alloc(MIB));
      })().catch(() => {});
      t.equal((await answer).statusCode, 413);
      const all = await until('its body breaks', async () => {
        const seen = await notes(daemon, key);
        return seen.length === 4 && seen;
      });
      t.match(all.slice(2).sort(), [/^broke: /, 'signal']);
      out.destroy();
    });

    await t.test('a length beyond the limit is refused before the code runs', async (t) => {
      const { out, answer } = open(daemon, '/code', { 'x-key': 'longer', 'content-length': String(161 * MIB) });
      out.on('error', () => {});
      t.equal((await answer).statusCode, 413);
      t.same(await notes(daemon, 'longer'), []);
      out.destroy();
    });

    await t.test('the deadline counts while the body comes', async (t) => {
      const { out, answer } = open(daemon, '/short', { 'x-key': 'late' });
      out.on('error', () => {});
      out.write('x');
      t.equal((await answer).statusCode, 408);
      const seen = await until('its body breaks', async () => {
        const all = await notes(daemon, 'late', '/short/notes');
        return all.some((each) => each.startsWith('broke: ')) && all;
      });
      t.ok(seen.includes('signal'));
      out.destroy();
    });

    await t.test('a client that leaves while its body waits in the queue frees its place', async (t) => {
      const load = (ongoing: number, queued: number) =>
        daemon.when(`${ongoing} in work and ${queued} in the queue`, ({ applications }) => {
          const one = applications['one']?.deployments['Only'];
          return one?.ongoing === ongoing && one.queued === queued;
        });
      const first = open(daemon, '/one/hangs', { 'x-key': 'first' });
      first.out.on('error', () => {});
      first.out.write('x');
      await load(1, 0);
      const second = open(daemon, '/one', { 'x-key': 'second' });
      second.out.on('error', () => {});
      second.out.write('x');
      await load(1, 1);
      second.out.destroy();
      await load(1, 0);
      first.out.destroy();
      await load(0, 0);
      // One that has left before its code began is never begun.
      t.match((await notes(daemon, 'first', '/one/notes')).join(), /^(aborted)?$/);
      t.same(await notes(daemon, 'second', '/one/notes'), []);
    });

    await t.test('a replica that dies before it has read any of a body is followed by another, else by a 503', async (t) => {
      const dead = (): string[] => {
        try {
          return readFileSync(deaths, 'utf8').trim().split('\n');
        } catch {
          return [];
        }
      };
      for (const [key, tries] of [
        ['read', 1],
        ['unread', 2],
      ] as const) {
        rmSync(deaths, { force: true });
        await daemon.running();
        const { out, answer } = open(daemon, '/again/dies', { 'x-key': key });
        out.on('error', () => {});
        if (key === 'read') out.write(Buffer.alloc(100_000));
        const incoming = await answer;
        t.equal(incoming.statusCode, 503);
        t.equal(incoming.headers['x-serve-error'], 'REPLICA_DIED');
        t.equal(dead().length, tries, `with a body that was ${key}`);
        out.destroy();
      }
      await daemon.running();
    });

    await t.test('a deployment with `call` gets a chunked body whole', async (t) => {
      const { out, answer } = open(daemon, '/whole', { 'content-type': 'text/plain' });
      for (let i = 0; i < 5; i++) await written(out, Buffer.alloc(100_000, 'a'));
      out.end();
      t.equal(await textOf(await answer), '500000');
    });

    await t.test('a connection goes on after an answer that came before the body was complete', async (t) => {
      const { Agent } = await import('node:http');
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const ports = new Set<number | undefined>();
      for (let round = 0; round < 3; round++) {
        const out = request(`${daemon.url}/code/early`, {
          method: 'POST',
          agent,
          headers: { 'content-length': String(2 * MIB) },
        });
        const answer = new Promise<IncomingMessage>((resolve, reject) => out.on('response', resolve).on('error', reject));
        out.flushHeaders();
        const incoming = await answer;
        ports.add(incoming.socket.localPort);
        out.end(Buffer.alloc(2 * MIB));
        t.equal(await textOf(incoming), 'not read');
        t.equal((await daemon.ask('/code/text', { method: 'POST', body: 'next', agent })).text, 'next');
      }
      t.equal(ports.size, 1);
      agent.destroy();
    });
  });
}
