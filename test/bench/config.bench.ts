/** (e) A config of 1,000 applications with 2,000 deployments, from its text to what is to be started: cold, and warm as on a reload. */
import { manyApplications, planned, plannedAgain } from '../support/many-applications.ts';
import { median } from './support.ts';

const ROUNDS = 20;
const WARM_UP = 5;

export const run = async (): Promise<void> => {
  const text = manyApplications(1000);
  const took: Record<'cold' | 'all' | 'plan', number[]> = { cold: [], all: [], plan: [] };
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const began = performance.now();
    const { targets } = planned(text);
    const done = performance.now();
    plannedAgain(targets);
    const again = performance.now() - done;
    if (round === -WARM_UP) took.cold.push(done - began);
    if (round < 0) continue;
    took.all.push(done - began);
    took.plan.push(again);
  }
  console.log(
    `(e) config of 1,000 applications, ${(text.length / 1024).toFixed(0)} KiB: validated and planned in ${median(took.all).toFixed(0)} ms warm, ${median(took.cold).toFixed(0)} ms cold (wanted < 1000); planned again with all of it running in ${median(took.plan).toFixed(1)} ms`,
  );
};
