/** R14: a chain of three steps, each with three attempts, over deployments of which every second call fails: no storm. */
import { configOf } from '../e2e/configs.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { QUIET } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

const CODE = `let n = 0;
export class Flaky { call(input) { if (n++ % 2 === 0) throw new Error('every second call fails'); return input; } }
`;
const flaky = (name: string) => ({ name, import_path: './code.ts:Flaky', max_ongoing_requests: 20 });
const retry = { max_attempts: 3, backoff_s: 0.001 };
const CONFIG = configOf(
  [
    {
      name: 'chain',
      route_prefix: '/chain',
      deployments: [flaky('A'), flaky('B'), flaky('C')],
      graph: {
        steps: {
          a: { call: 'A', input: '$request.json', retry },
          b: { call: 'B', input: '$a', retry },
          c: { call: 'C', input: '$b', retry },
        },
      },
    },
  ],
  QUIET,
);

const run = async ({ size, program }: World) => {
  const found = new Findings();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE }, program });
  await daemon.running();
  const requests = size(20_000, 600);
  const began = performance.now();
  let good = 0;
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < requests) {
      const n = next++;
      const { status } = await daemon.post('/chain', n);
      if (status === 200) good += 1;
      else found.expect(status === 500, `a request got ${status}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  const seconds = (performance.now() - began) / 1000;
  const { text } = await daemon.ask('/metrics', {}, daemon.adminUrl);
  const calls = (deployment: string): number => {
    let sum = 0;
    const series = new RegExp(
      `^serve_deployment_requests_total\\{application="chain",deployment="${deployment}",result="\\w+"\\} (\\d+)$`,
      'gm',
    );
    for (const [, value] of text.matchAll(series)) sum += Number(value);
    return sum;
  };
  const figures: Record<string, number> = { requests, good };
  let first = requests;
  for (const name of ['A', 'B', 'C']) {
    const made = calls(name);
    figures[`calls_${name}`] = made;
    // A fifth, what is there at the start, and one a second.
    found.expect(made <= first * 1.2 + 11 + seconds, `${name}: ${made} calls for ${first} that came to it`);
    found.expect(made > first * 1.05, `${name}: ${made} calls for ${first}: nothing is tried again`);
    // What came of them, at most.
    first = Math.min(first, Math.ceil(made / 2) + 1);
  }
  return { figures, broken: found.broken };
};

export const retryStorm: Promised = {
  id: 'R14',
  title: 'tries again over a chain do not multiply',
  run,
  sabotages: [
    {
      what: 'tries again have no budget',
      patches: [{ file: 'proxy/retry-budget.js', from: 'if (this.#left < COST)\n            return false;', to: '' }],
      shows: /calls for \d+ that came to it/,
    },
  ],
};
