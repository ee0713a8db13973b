/** R13: clients that have left, and deadlines that have passed: what still waited never reaches the code, through a graph as well. */
import { configOf, single } from '../e2e/configs.ts';
import { startDaemon, until } from '../support/daemon-rig.ts';
import { abandon, Ledger, QUIET } from './parts.ts';
import { Findings, type Promised, type World } from './soak.ts';

const CODE = `import { appendFileSync } from 'node:fs';
export class Work {
  async call(input) {
    appendFileSync(process.env.LEDGER, input.n + '\\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    return input;
  }
}
`;
const work = { import_path: './code.ts:Work', max_ongoing_requests: 1 };
const CONFIG = configOf(
  [
    single('work', '/work', work),
    {
      name: 'graph',
      route_prefix: '/graph',
      deployments: [
        { name: 'A', ...work },
        { name: 'B', ...work },
      ],
      graph: { steps: { a: { call: 'A', input: '$request.json' }, b: { call: 'B', input: '$a' } } },
    },
  ],
  QUIET,
);

const run = async ({ size, program }: World) => {
  const found = new Findings();
  using ledger = new Ledger();
  await using daemon = await startDaemon(CONFIG, { files: { 'code.ts': CODE }, program, env: { LEDGER: ledger.path } });
  await daemon.running();
  const figures: Record<string, number> = {};
  let n = 0;
  for (const path of ['/work', '/graph']) {
    const count = size(2000, 60);
    const began = ledger.read().size;
    for (let round = 0; round < count / 20; round++)
      await Promise.all(Array.from({ length: 20 }, () => abandon(daemon.url + path, { n: n++ })));
    // One that is answered comes behind all of them.
    await daemon.post(path, { n: n++ });
    const reached = ledger.read().size - began - 1;
    figures[`${path.slice(1)}_abandoned`] = count;
    figures[`${path.slice(1)}_reached`] = reached;
    // Each round of twenty may reach an idle slot with one, and with one more when that is done.
    found.expect(reached <= (2 * count) / 20, `${path}: ${reached} of ${count} requests that nobody waited for reached the code`);
    const late = await Promise.all(
      Array.from({ length: 20 }, () => daemon.post(path, { n: n++ }, { 'x-request-timeout-seconds': '0.12' })),
    );
    const answered = late.filter(({ status }) => status === 200).length;
    const other = late.filter(({ status }) => status !== 200 && status !== 408);
    found.expect(other.length === 0, `${path}: ${other.length} were neither answered nor 408: ${other[0]?.status}`);
    figures[`${path.slice(1)}_in_time`] = answered;
  }
  await until('nothing is left', async () => {
    const { applications } = await daemon.status();
    return Object.values(applications).every(({ deployments }) =>
      Object.values(deployments).every(({ queued, ongoing }) => queued + ongoing === 0),
    );
  });
  return { figures, broken: found.broken };
};

export const wastedWork: Promised = {
  id: 'R13',
  title: 'what nobody waits for any more does not reach the code',
  run,
  sabotages: [
    {
      what: 'a client that leaves is not noticed',
      patches: [
        {
          file: 'proxy/ingress-request.js',
          from: "this.#goesOn = mayGoOn && this.#exchange.header('x-request-disconnect-disabled') === '?1';",
          to: 'this.#goesOn = mayGoOn;',
        },
      ],
      shows: /nobody waited for reached the code/,
    },
  ],
};
