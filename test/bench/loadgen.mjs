/**
 * A closed-loop HTTP load in a process of its own: so many keep-alive connections, each with one request under way. Prints one line of JSON:
 * {requests, seconds, errors, p50Ms, p99Ms}. Args: port connections seconds file-with-the-raw-request.
 */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';

const [port, connections, seconds, file] = process.argv.slice(2);
const request = readFileSync(file);
const latencies = [];
let requests = 0;
let errors = 0;
let stopped = false;
let open = 0;
const began = performance.now();

const end = () => {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  console.log(JSON.stringify({ requests, seconds: (performance.now() - began) / 1000, errors, p50Ms: at(0.5), p99Ms: at(0.99) }));
  process.exit();
};

const client = () => {
  open += 1;
  const socket = connect(Number(port), '127.0.0.1');
  socket.setNoDelay(true);
  let sentAt = performance.now();
  let got = Buffer.alloc(0);
  const send = () => {
    sentAt = performance.now();
    socket.write(request);
  };
  socket.on('connect', send);
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
    if (requests % 8 === 0) latencies.push(performance.now() - sentAt);
    got = Buffer.alloc(0);
    if (stopped) socket.end();
    else send();
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

for (let index = 0; index < Number(connections); index++) client();
setTimeout(() => {
  stopped = true;
  setTimeout(end, 2000).unref();
}, Number(seconds) * 1000);
