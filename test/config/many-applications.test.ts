import t from 'tap';
import { manyApplications, planned, plannedAgain } from '../support/many-applications.ts';

/** It takes a third of a second; a machine that does much else may take its time. */
const BOUND_MS = 5000;

t.test('a config of 1,000 applications is checked and planned in no time that anybody would notice', async (t) => {
  const began = performance.now();
  const { compiled, targets, actions } = planned(manyApplications(1000));
  const again = plannedAgain(targets);
  const took = performance.now() - began;
  t.same(compiled.diagnostics, []);
  t.equal(actions.filter(({ type }) => type === 'start').length, 2000);
  t.same(again, []);
  t.ok(took < BOUND_MS, `${took.toFixed(0)} ms`);
});

t.test('a mistake in every one of them takes no longer, and the first hundred are told', async (t) => {
  const began = performance.now();
  const { diagnostics } = planned(manyApplications(1000).replaceAll('ingress: Front', 'ingress: Frnt')).compiled;
  const took = performance.now() - began;
  t.match(diagnostics[0], { code: 'UNKNOWN_DEPLOYMENT', line: 14, message: /did you mean `Front`/ });
  t.match(diagnostics.at(-1), { code: 'MORE', message: /^and 900 more errors/ });
  t.ok(took < BOUND_MS, `${took.toFixed(0)} ms`);
});
