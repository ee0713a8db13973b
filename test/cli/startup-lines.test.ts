import fc from 'fast-check';
import t from 'tap';
import { type Startup, startupLines } from '../../src/cli/startup-lines.ts';
import type { DeploymentProgress, Stage } from '../../src/control/progress.ts';
import { widthOf } from '../../src/telemetry/screen.ts';

const WIDE = { columns: 80, rows: 24 };
const one = (name: string, stage: Stage, about: Partial<DeploymentProgress> = {}): DeploymentProgress => ({
  application: 'text',
  deployment: name,
  stage,
  ready: stage === 'ready' ? 1 : 0,
  wanted: 1,
  ms: undefined,
  reason: '',
  ...about,
});
const startup = (deployments: readonly DeploymentProgress[], about: Partial<Startup> = {}): Startup => ({
  deployments,
  ms: 1234,
  url: 'http://127.0.0.1:8000',
  adminUrl: 'http://127.0.0.1:8265',
  over: false,
  ...about,
});

t.test('each deployment has its stage, how many are ready, how long it took or has taken, and why', async (t) => {
  const deployments = [
    one('Summarizer', 'ready', { ready: 2, wanted: 2, ms: 843 }),
    one('Language', 'loading', { ms: 61_900 }),
    one('Idle', 'ready', { ready: 0, wanted: 0 }),
    one('Large', 'waiting', { reason: 'failed once: no memory', wanted: 4 }),
    { ...one('', 'failed', { reason: 'det.onnx is missing' }), application: 'ocr', deployment: undefined, wanted: 0 },
  ];
  t.same(startupLines(startup(deployments), WIDE, false), [
    '  text/Summarizer  ready     2/2  0.8 s',
    '  text/Language    loading        61 s',
    '  text/Idle        ready          scaled to zero',
    '  text/Large       waiting   0/4  failed once: no memory',
    '  ocr              failed         det.onnx is missing',
    '2 ready, 1 waiting, 1 loading, 1 failed  http://127.0.0.1:8000  admin http://1…',
  ]);
});

t.test('the last line says that all is ready, or how many are not', async (t) => {
  const last = (deployments: readonly DeploymentProgress[], about: Partial<Startup> = {}) =>
    startupLines(startup(deployments, { over: true, ...about }), WIDE, false).at(-1);
  t.equal(last([one('A', 'ready', { ms: 5 })]), 'ready after 1.2 s  http://127.0.0.1:8000  admin http://127.0.0.1:8265');
  t.equal(
    last([one('A', 'ready', { ms: 5 }), one('B', 'failed')], { url: undefined, ms: 61_000 }),
    '1 ready, 1 failed after 61 s  no HTTP  admin http://127.0.0.1:8265',
  );
  t.match(last([]), /^nothing to serve/);
});

t.test('colours are on the stage alone, and only where they are wanted', async (t) => {
  const [line] = startupLines(startup([one('A', 'failed', { reason: 'why' })]), WIDE, true);
  t.equal(line, '  text/A  \x1b[31mfailed\x1b[0m    why');
  t.notMatch(startupLines(startup([one('A', 'failed', { reason: 'why' })]), WIDE, false).join(), '\x1b[');
});

t.test('what a program wrote as its reason cannot move the cursor or break the line', async (t) => {
  const [line] = startupLines(
    startup([one('A', 'failed', { reason: '\x1b[2J\x1b[31mTypeError:\n\tno\r\x07 way' })]),
    WIDE,
    false,
  );
  t.equal(line, '  text/A  failed    TypeError: no way');
});

t.test('where there is no room for all, the most urgent stand there and the rest is counted', async (t) => {
  const deployments = [
    ...Array.from({ length: 30 }, (_, n) => one(`R${n}`, 'ready', { ms: 1 })),
    one('Bad', 'failed', { reason: 'x' }),
    ...Array.from({ length: 30 }, (_, n) => one(`W${n}`, 'waiting')),
  ];
  const lines = startupLines(startup(deployments), { columns: 80, rows: 10 }, false);
  t.equal(lines.length, 8);
  t.match(lines, [
    /text\/Bad +failed/,
    /W0/,
    /W1/,
    /W2/,
    /W3/,
    /W4/,
    '  … and 55 more: 30 ready, 25 waiting',
    /^30 ready, 30 waiting, 1 failed/,
  ]);
});

t.test('whatever is shown wherever: no line is wider than the terminal, and all fit on it', async () => {
  const stage = fc.constantFrom<Stage>('waiting', 'starting', 'loading', 'ready', 'failed');
  const deployment = fc.record({
    application: fc.string({ minLength: 1, maxLength: 63, unit: fc.constantFrom('a', 'B', '-') }),
    deployment: fc.option(fc.string({ minLength: 1, maxLength: 63, unit: fc.constantFrom('x', 'Y', '_') }), { nil: undefined }),
    stage,
    ready: fc.nat(500),
    wanted: fc.nat(500),
    ms: fc.option(fc.nat(10_000_000), { nil: undefined }),
    reason: fc.string({ unit: 'binary', maxLength: 200 }),
  });
  fc.assert(
    fc.property(
      fc.array(deployment, { maxLength: 30 }),
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 4, max: 60 }),
      fc.boolean(),
      fc.boolean(),
      (deployments, columns, rows, colours, over) => {
        const lines = startupLines(startup(deployments, { over }), { columns, rows }, colours);
        return lines.length < rows && lines.every((line) => !line.includes('\n') && widthOf(line) <= Math.max(1, columns - 1));
      },
    ),
    // A name that takes the whole width leaves no room for a stage.
    {
      examples: [
        [
          [
            {
              application: 'a'.repeat(9),
              deployment: undefined,
              stage: 'waiting',
              ready: 0,
              wanted: 0,
              ms: undefined,
              reason: '',
            },
          ],
          14,
          4,
          false,
          false,
        ],
      ],
    },
  );
});
