/** (g) What passes through the daemon: large bodies, streams, more than it can serve, very many connections; with `--long`, very many requests. */
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { createHistogram } from 'node:perf_hooks';
import { longTraffic } from './long-traffic.ts';
import type { BenchOptions } from './options.ts';
import { load, median, residentMb, startDaemon } from './support.ts';

type Daemon = Awaited<ReturnType<typeof startDaemon>>;

const CONFIG = `http_options: {port: 0, max_request_body: 128MiB, max_buffered_bytes: 512MiB}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
applications:
- {name: bytes, deployments: [{name: Bytes, import_path: ./code.ts:bytes, max_ongoing_requests: 100}]}
- {name: length, route_prefix: /length, deployments: [{name: Length, import_path: ./code.ts:length, max_ongoing_requests: 100}]}
- {name: fetch, route_prefix: /fetch, deployments: [{name: Fetch, import_path: ./code.ts:Fetch, max_ongoing_requests: 100}]}
- {name: stream, route_prefix: /stream, deployments: [{name: Stream, import_path: ./code.ts:stream, max_ongoing_requests: 100}]}
- {name: slow, route_prefix: /slow, deployments: [{name: Slow, import_path: ./code.ts:slow, max_ongoing_requests: 4, max_queued_requests: 16}]}
- {name: spin, route_prefix: /spin, deployments: [{name: Spin, import_path: ./code.ts:spin, max_ongoing_requests: 4}]}
`;
const CODE = `export function bytes(input: Uint8Array) { return input; }
export function length(input: Uint8Array) { return input.length; }
export class Fetch { fetch(request: Request) { return new Response(request.body); } }
export async function* stream({ every }: { every?: number }) {
  for (let n = 0; ; n++) {
    if (every !== undefined) await new Promise((resolve) => setTimeout(resolve, every));
    yield process.hrtime.bigint() + '\\n';
  }
}
export const slow = () => new Promise((resolve) => setTimeout(resolve, 10, 'done'));
export function spin() { const until = performance.now() + 20; while (performance.now() < until); return 'done'; }
`;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The highest resident memory of a process while something is done. */
const peakMb = async <T>(pid: number, work: () => Promise<T>): Promise<{ readonly peak: number; readonly result: T }> => {
  let peak = residentMb(pid);
  const timer = setInterval(() => {
    peak = Math.max(peak, residentMb(pid));
  }, 20);
  try {
    return { result: await work(), peak };
  } finally {
    clearInterval(timer);
  }
};

const bodies = async (daemon: Daemon): Promise<void> => {
  // An image of 224 × 224 in float32, as models take them.
  const body = Buffer.alloc(224 * 224 * 3 * 4, 7);
  for (const [path, what, wanted] of [
    ['/length', 'in, a small answer out', ' (wanted ≥ 2500/s or 1.5 GB/s)'],
    ['/', 'in and out', ''],
  ] as const) {
    await load(daemon.port, 4, 1, body, 'application/octet-stream', path);
    const runs = [];
    for (let round = 0; round < 3; round++)
      runs.push((await load(daemon.port, 4, 3, body, 'application/octet-stream', path)).rps);
    const rps = median(runs);
    console.log(
      `    602 KB ${what}: ${rps.toFixed(0)}/s, ${((rps * body.length) / 1e9).toFixed(2)} GB/s${what === 'in and out' ? ' each way' : ''}${wanted}`,
    );
  }
};

/** Posts so many bytes, and reads them back at the pace at which they come. */
const echoed = (port: number, size: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const piece = Buffer.alloc(256 * 1024, 3);
    const sent = request(
      { port, path: '/fetch', method: 'POST', headers: { 'content-length': size, 'content-type': 'application/octet-stream' } },
      (answer) => {
        let got = 0;
        answer.on('data', (chunk: Buffer) => {
          got += chunk.length;
        });
        answer.on('end', () => resolve(got));
        answer.on('error', reject);
      },
    );
    sent.on('error', reject);
    let left = size;
    const more = (): void => {
      while (left > 0) {
        const part = piece.subarray(0, Math.min(left, piece.length));
        left -= part.length;
        if (!sent.write(part)) return void sent.once('drain', more);
      }
      sent.end();
    };
    more();
  });

const large = async (daemon: Daemon): Promise<void> => {
  const size = 64 * 2 ** 20;
  const before = residentMb(daemon.pid);
  const began = performance.now();
  const { peak, result } = await peakMb(daemon.pid, () => Promise.all([1, 2, 3, 4].map(() => echoed(daemon.port, size))));
  if (result.some((got) => got !== size)) throw new Error(`expected ${size} bytes back, got ${result.join(', ')}`);
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `    4 bodies of 64 MB through fetch at once: ${seconds.toFixed(1)} s; the daemon went from ${before.toFixed(0)} to ${peak.toFixed(0)} MB`,
  );
};

/** Reads a streamed answer as bytes; `line` is told each line's bytes. */
const reader = (port: number, body: string, take: (chunk: Buffer) => void): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(
        `POST /stream HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      resolve(socket);
    });
    socket.on('data', take);
    socket.on('error', reject);
  });

const streams = async (daemon: Daemon): Promise<void> => {
  let lines = 0;
  const count = (chunk: Buffer): void => {
    // Each chunk is one line of a clock reading; the lines of chunked encoding end in CR LF.
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) if (chunk[at - 1] !== 13) lines += 1;
  };
  const sockets = await Promise.all(Array.from({ length: 10 }, () => reader(daemon.port, '{}', count)));
  await pause(1000);
  lines = 0;
  await pause(4000);
  const perSecond = lines / 4;
  for (const socket of sockets) socket.destroy();
  await pause(500);
  const late = createHistogram();
  const slow = await reader(daemon.port, '{"every":5}', (chunk) => {
    const now = process.hrtime.bigint();
    const at = /^(\d{10,})$/m.exec(chunk.toString())?.[1];
    if (at !== undefined) late.record(Math.max(1, Number((now - BigInt(at)) / 1000n)));
  });
  await pause(3000);
  slow.destroy();
  console.log(
    `    10 streams: ${perSecond.toFixed(0)} chunks/s (wanted ≥ 100,000); a chunk is with the client ${(late.percentile(50) / 1000).toFixed(2)} ms after it was produced, p99 ${(late.percentile(99) / 1000).toFixed(2)} ms (wanted ≤ 2)`,
  );
};

interface Open {
  readonly good: number;
  readonly refused: number;
  readonly other: number;
  readonly refusedP99Ms: number;
}

/** So many requests a second, whatever comes back. */
const openLoop = async (port: number, path: string, perSecond: number, seconds: number): Promise<Open> => {
  const agent = new Agent({ keepAlive: true });
  const refusals = createHistogram();
  let [good, refused, other, open] = [0, 0, 0, 0];
  const began = performance.now();
  let sent = 0;
  while (performance.now() - began < seconds * 1000) {
    for (const due = ((performance.now() - began) / 1000) * perSecond; sent < due; sent++) {
      const at = performance.now();
      open += 1;
      const outgoing = request({ port, path, method: 'POST', agent, headers: { 'content-length': 0 } }, (answer) => {
        answer.resume();
        answer.on('end', () => {
          open -= 1;
          if (answer.statusCode === 200) good += 1;
          else if (answer.statusCode === 503) {
            refused += 1;
            refusals.record(Math.max(1, Math.round((performance.now() - at) * 1000)));
          } else other += 1;
        });
      });
      outgoing.on('error', () => {
        open -= 1;
        other += 1;
      });
      outgoing.end();
    }
    await pause(1);
  }
  while (open > 0) await pause(5);
  agent.destroy();
  return { good: good / seconds, refused: refused / seconds, other, refusedP99Ms: refusals.percentile(99) / 1000 };
};

const overload = async (daemon: Daemon): Promise<void> => {
  // What four slots of 10 ms come to, as a closed loop of as many clients finds it.
  const { rps: capacity } = await load(daemon.port, 4, 4, '', 'text/plain', '/slow');
  const before = residentMb(daemon.pid);
  const { peak, result } = await peakMb(daemon.pid, () => openLoop(daemon.port, '/slow', capacity * 3, 10));
  if (result.other > 0) throw new Error(`${result.other} requests got neither 200 nor 503`);
  console.log(
    `    at 3 × capacity (${capacity.toFixed(0)}/s), a queue of 16: goodput ${((100 * result.good) / capacity).toFixed(0)} % (wanted ≥ 95), refusals p99 ${result.refusedP99Ms.toFixed(1)} ms (wanted < 5), memory ${before.toFixed(0)} → ${peak.toFixed(0)} MB`,
  );
};

const connections = async (daemon: Daemon): Promise<void> => {
  const body = Buffer.from('x');
  const alone = (await load(daemon.port, 16, 3, body, 'application/octet-stream')).rps;
  const before = residentMb(daemon.pid);
  const sockets: Socket[] = [];
  for (let n = 0; n < 10_000; n += 250) {
    sockets.push(
      ...(await Promise.all(
        Array.from(
          { length: 250 },
          () =>
            new Promise<Socket>((resolve, reject) => {
              const socket = connect(daemon.port, '127.0.0.1', () => resolve(socket));
              socket.on('error', reject);
            }),
        ),
      )),
    );
  }
  const after = residentMb(daemon.pid);
  const busy = (await load(daemon.port, 16, 3, body, 'application/octet-stream')).rps;
  for (const socket of sockets) socket.destroy();
  console.log(
    `(g) 10,000 open connections: ${(after - before).toFixed(0)} MB (wanted ≤ 100); the busy ones at ${((100 * busy) / alone).toFixed(0)} % of their pace without them`,
  );
};

const health = async (daemon: Daemon): Promise<void> => {
  const busy = load(daemon.port, 32, 5, '', 'text/plain', '/spin');
  await pause(500);
  const times = createHistogram();
  for (let n = 0; n < 400; n++) {
    const began = performance.now();
    await (await fetch(`http://127.0.0.1:${daemon.port}/-/healthz`)).text();
    times.record(Math.max(1, Math.round((performance.now() - began) * 1000)));
    await pause(5);
  }
  await busy;
  console.log(
    `    /-/healthz while every replica is saturated: p99 ${(times.percentile(99) / 1000).toFixed(1)} ms (wanted < 10)`,
  );
};

export const run = async ({ long }: BenchOptions): Promise<void> => {
  if (long !== undefined) return longTraffic(long);
  await using daemon = await startDaemon(CONFIG, { 'code.ts': CODE });
  await daemon.line('"application":"spin","route"');
  // Connections first: what they cost is seen only while the daemon has nothing to reuse.
  for (const part of [connections, bodies, large, streams, overload, health]) await part(daemon);
};
