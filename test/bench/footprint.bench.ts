/** Memory of the idle daemon and of a trivial replica; and how long the quickstart takes from the command to its answers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median, ROOT, residentMb, startDaemon } from './support.ts';

const ROUNDS = 3;
const CONFIG = `http_options: {port: 0}
admin_options: {port: 0}
applications:
- name: echo
  deployments:
  - {name: Echo, import_path: ./echo.ts:echo}
`;
const FILES = { 'echo.ts': 'export async function echo(input: unknown) { return input; }\n' };

/** One POST; the status, or undefined while nothing listens. */
const post = (port: number, path: string, body: string): Promise<number | undefined> =>
  new Promise((resolve) => {
    const sent = request({ port, path, method: 'POST', headers: { 'content-type': 'application/json' } }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode));
    });
    sent.on('error', () => resolve(undefined));
    sent.end(body);
  });

export const run = async (): Promise<void> => {
  const idle: number[] = [];
  const replica: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await using daemon = await startDaemon(CONFIG, FILES);
    await daemon.line('application is serving');
    // What start-up left behind is collected within some seconds of quiet.
    await new Promise((resolve) => setTimeout(resolve, 5000));
    idle.push(residentMb(daemon.pid));
    replica.push(...(await daemon.pids()).map(residentMb));
  }
  console.log(
    `(d) idle daemon ${median(idle).toFixed(0)} MB resident (wanted ≤ 120); trivial TypeScript replica ${median(replica).toFixed(0)} MB (wanted ≤ 70)`,
  );

  const state = mkdtempSync(join(tmpdir(), 'serve-bench-state-'));
  process.env['BENCH_STATE'] = state;
  try {
    const first: number[] = [];
    const all: number[] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      await using daemon = await startDaemon('', {}, join(ROOT, 'configs', 'quickstart', 'config.yaml'));
      let answered: number | undefined;
      while (answered === undefined) {
        // Asked every few milliseconds: asking without pause would take the core that the replicas start on.
        await new Promise((resolve) => setTimeout(resolve, 5));
        if ((await post(daemon.port, '/', '"One sentence. And another one."')) === 200)
          answered = performance.now() - daemon.startedMs;
      }
      const ready = await daemon.line('"application":"ocr","route":"/ocr"');
      if (round === 0)
        console.log(
          `    quickstart, nothing compiled before: text answers after ${answered.toFixed(0)} ms, all of it ready after ${ready.toFixed(0)} ms`,
        );
      else {
        first.push(answered);
        all.push(ready);
      }
    }
    console.log(
      `    quickstart: text answers after ${median(first).toFixed(0)} ms (wanted ≤ 1000), all of it ready after ${median(all).toFixed(0)} ms (wanted ≤ 4000)`,
    );
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
};
