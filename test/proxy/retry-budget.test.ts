import t from 'tap';
import { RetryBudget, RetryBudgets } from '../../src/proxy/retry-budget.ts';

const spend = (budget: RetryBudget, now: number): number => {
  let tries = 0;
  while (budget.again(now)) tries += 1;
  return tries;
};

t.test('ten further tries at the start, then one for five calls, and never more than a hundred saved', async (t) => {
  const budget = new RetryBudget();
  t.equal(spend(budget, 0), 10);
  for (let call = 0; call < 50; call++) budget.first(0);
  t.equal(spend(budget, 0), 10);
  for (let call = 0; call < 10_000; call++) budget.first(0);
  t.equal(spend(budget, 0), 100);
});

t.test('where calls are few, one a second, up to ten', async (t) => {
  const budget = new RetryBudget();
  spend(budget, 0);
  t.equal(spend(budget, 999), 0);
  t.equal(spend(budget, 1000), 1);
  t.equal(spend(budget, 4000), 3);
  t.equal(spend(budget, 3_600_000), 10);
});

t.test('each deployment has its own, which is forgotten with it', async (t) => {
  const budgets = new RetryBudgets();
  spend(budgets.of('a/A'), 0);
  t.equal(budgets.of('a/A').again(0), false);
  t.equal(budgets.of('a/B').again(0), true);
  budgets.keep(new Set(['a/B']));
  t.equal(budgets.of('a/A').again(0), true);
});
