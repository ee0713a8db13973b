import fc from 'fast-check';
import t from 'tap';
import { compileGraph, type GraphSource } from '../../src/graph/compile.ts';
import { jsonNode, type RequestScope } from '../../src/graph/evaluate.ts';
import { finish, inputsOf, isDone, outputOf, type RunState, ready, start } from '../../src/graph/step.ts';

const nothing = jsonNode(null);
const request: RequestScope = { json: nothing, body: nothing, path: nothing, query: () => nothing, header: () => nothing };

/** Steps `s0`, `s1`, … each with references to some of those before it, written into the file in any order. */
const flows = fc.array(fc.array(fc.nat(), { maxLength: 3 }), { minLength: 1, maxLength: 12 }).chain((needs) => {
  const steps = needs.map((some, index) => {
    const before = index === 0 ? [] : [...new Set(some.map((number) => number % index))];
    return { name: `s${index}`, needs: before.map((number) => `s${number}`) };
  });
  return fc.shuffledSubarray(steps, { minLength: steps.length });
});
type Flow = readonly { name: string; needs: readonly string[] }[];

const begin = (flow: Flow): RunState => {
  const steps = Object.fromEntries(flow.map(({ name, needs }) => [name, { call: 'A', input: needs.map((need) => `$${need}`) }]));
  const source: GraphSource = { steps, output: Object.fromEntries(flow.map(({ name }) => [name, `$${name}`])) };
  const { ingress } = compileGraph(source, { name: 'app', deployments: ['A'] }, []);
  if (ingress?.kind !== 'graph') throw new Error('expected a graph');
  return start(ingress.graph);
};

t.test('every step runs exactly once, after all that it needs, whatever the order in which calls end', async (t) => {
  fc.assert(
    fc.property(flows, fc.infiniteStream(fc.nat()), (flow, picks) => {
      let run = begin(flow);
      const out = [...ready(run)];
      const ended: string[] = [];
      while (out.length > 0) {
        const [name = ''] = out.splice(Number(picks.next().value) % out.length, 1);
        const step = run.graph.steps.find((known) => known.name === name);
        if (step === undefined || isDone(run)) return false;
        // Each step answers its name and how many it needed; its inputs are there, or this throws.
        const [input] = inputsOf(run, step, request) ?? [];
        if (!Array.isArray(input?.json) || input.json.length !== step.needs.length) return false;
        ended.push(name);
        run = finish(run, name, jsonNode(name));
        out.push(...ready(run));
      }
      const names = flow.map((step) => step.name);
      const answer = outputOf(run, request).json as Record<string, string>;
      return isDone(run) && ended.length === flow.length && names.every((name) => ended.includes(name) && answer[name] === name);
    }),
  );
  t.pass();
});

t.test('a step is ready as soon as all that it needs is done, together with all others for which that holds', async (t) => {
  fc.assert(
    fc.property(flows, (flow) => {
      let run = begin(flow);
      let wave = [...ready(run)];
      const done = new Set<string>();
      while (wave.length > 0) {
        const free = flow.filter(({ name, needs }) => !done.has(name) && needs.every((need) => done.has(need)));
        if (free.length !== wave.length || !free.every(({ name }) => wave.includes(name))) return false;
        const next: string[] = [];
        for (const name of wave) {
          run = finish(run, name, jsonNode(name));
          done.add(name);
          next.push(...ready(run));
        }
        wave = next;
      }
      return isDone(run);
    }),
  );
  t.pass();
});
