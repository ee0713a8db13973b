/**
 * An HTTP load in a process of its own, over so many keep-alive connections with one request under way on each. Closed: a connection asks
 * again when it has its answer. With a rate: so many requests a second at chance times, whatever has been answered; a latency counts from
 * the time that was drawn, also where no connection was free. Prints one line of JSON: {requests, seconds, errors, p50Ms, p99Ms}.
 * Args: port connections seconds file-with-the-raw-request [rate].
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';

const [port, connections, duration, file, rate] = process.argv.slice(2);
const request = readFileSync(file);
const latencies = [];
let requests = 0;
let errors = 0;
let stopped = false;
let stoppedAt;
let open = 0;
let connected = 0;
/** With a rate: connections that wait for a request, each for as long as the others, and times that wait for a connection. */
const idle = [];
const due = [];
const began = performance.now();

const end = () => {
  const seconds = ((stoppedAt ?? performance.now()) - began) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  console.log(JSON.stringify({ requests, seconds, errors, p50Ms: at(0.5), p99Ms: at(0.99) }));
  process.exit();
};

const client = () => {
  open += 1;
  const socket = connect(Number(port), '127.0.0.1');
  socket.setNoDelay(true);
  let sentAt = performance.now();
  let got = Buffer.alloc(0);
  const send = (at) => {
    sentAt = at;
    socket.write(request);
  };
  const next = () => {
    if (rate === undefined) send(performance.now());
    else if (due.length > 0) send(due.shift());
    else idle.push({ socket, send });
  };
  socket.on('connect', () => {
    next();
    connected += 1;
    if (rate !== undefined && connected === Number(connections)) ask(draw(performance.now()));
  });
  socket.on('data', (chunk) => {
    got = got.length === 0 ? chunk : Buffer.concat([got, chunk]);
    const head = got.indexOf('\r\n\r\n');
    if (head < 0) return;
    const text = got.latin1Slice(0, head);
    const at = text.toLowerCase().indexOf('content-length:');
    const length = at < 0 ? 0 : Number.parseInt(text.slice(at + 15), 10);
    if (got.length < head + 4 + length) return;
    if (!text.startsWith('HTTP/1.1 2')) errors += 1;
    requests += 1;
    // Every 8th is enough for percentiles, and keeps the generator light.
    if (rate !== undefined || requests % 8 === 0) latencies.push(performance.now() - sentAt);
    got = Buffer.alloc(0);
    if (stopped) socket.end();
    else next();
  });
  const closed = () => {
    open -= 1;
    if (!stopped) {
      errors += 1;
      client();
    } else if (open === 0) end();
  };
  socket.on('error', () => {});
  socket.on('close', closed);
};

const draw = (from) => from - (1000 * Math.log(1 - Math.random())) / Number(rate);

const ask = (at) => {
  let next = at;
  for (const now = performance.now(); next <= now; next = draw(next)) due.push(next);
  while (due.length > 0 && idle.length > 0) idle.shift().send(due.shift());
  if (!stopped) setTimeout(ask, 1, next);
};

for (let index = 0; index < Number(connections); index++) client();
setTimeout(() => {
  stopped = true;
  stoppedAt = performance.now();
  // Those that have nothing to wait for; the others close behind their answer.
  for (const { socket } of idle) socket.end();
  setTimeout(end, 2000).unref();
}, Number(duration) * 1000);
