/** Traffic of every kind for so long that what is not given back would be seen: memory, handles, and every request accounted for once. */
import { readdirSync } from 'node:fs';
import { MIXED_APPLICATIONS, MIXED_CODE, MixedTraffic, toldByMetrics } from '../support/mixed-traffic.ts';
import { cpuMs, residentMb, startDaemon } from './support.ts';

const CLIENTS = 64;
const ROUNDS = 20;
const CONFIG = `http_options: {port: 0}
admin_options: {port: 0}
logging_config: {enable_access_log: false}
applications:
${[...MIXED_APPLICATIONS, { name: 'other', route_prefix: '/other', deployments: MIXED_APPLICATIONS[0]?.deployments }].map((each) => `- ${JSON.stringify(each)}\n`).join('')}`;

const sorted = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort()
    .map(([end, count]) => `${end.trim()} ${count}`)
    .join(', ');

export const longTraffic = async (requests: number): Promise<void> => {
  await using daemon = await startDaemon(CONFIG, { 'mixed.ts': MIXED_CODE });
  for (const { name } of MIXED_APPLICATIONS) await daemon.line(`"application":"${name}","route"`);
  await daemon.line('"application":"other","route"');
  const told = async () =>
    toldByMetrics(await (await fetch(`${daemon.admin}/metrics`, { headers: { connection: 'close' } })).text());
  const handles = () => readdirSync(`/proc/${daemon.pid}/fd`).length;
  const traffic = new MixedTraffic({ port: daemon.port, clients: CLIENTS, other: '/other' });
  const before = await told();
  const memory: number[] = [];
  const open: number[] = [];
  const pace: number[] = [];
  const cpu = cpuMs([daemon.pid]);
  const began = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    const from = performance.now();
    await traffic.send(Math.ceil(requests / ROUNDS));
    pace.push(Math.ceil(requests / ROUNDS) / ((performance.now() - from) / 1000));
    memory.push(residentMb(daemon.pid));
    open.push(handles());
  }
  const seconds = (performance.now() - began) / 1000;
  const cpuUs = ((cpuMs([daemon.pid]) - cpu) * 1000) / traffic.sent;
  const wanted: Record<string, number> = { ...before };
  for (const [end, count] of Object.entries(traffic.ends)) wanted[end] = (wanted[end] ?? 0) + count;
  // The daemon learns of a client that has left a moment later.
  let counted = await told();
  for (let n = 0; n < 50 && sorted(counted) !== sorted(wanted); n++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    counted = await told();
  }
  const text = (values: readonly number[]) => values.map((value) => value.toFixed(0)).join(' ');
  console.log(
    `(h) ${traffic.sent} mixed requests over ${CLIENTS} connections in ${seconds.toFixed(0)} s, ${cpuUs.toFixed(0)} µs of CPU each in the daemon, ${traffic.left} left early; in twentieths of the run:`,
  );
  console.log(`    requests/s: ${text(pace)}`);
  console.log(`    memory, MB: ${text(memory)}`);
  console.log(`    open files: ${text(open)}`);
  console.log(`    sent: ${sorted(wanted)}`);
  console.log(`    told: ${sorted(counted)}`);
  if (sorted(counted) !== sorted(wanted)) throw new Error('not every request is accounted for once');
  if (traffic.wrong.size > 0)
    throw new Error(
      `requests ended otherwise than they should: ${[...traffic.wrong].map(([what, count]) => `${count} × ${what}`).join('; ')}`,
    );
};
