/** The process in which an autoscaling policy of the user runs: it is asked, and answers how many replicas it wants. */
import { pathToFileURL } from 'node:url';
import type { Json } from '../domain/json.ts';
import type { AutoscalingContext, AutoscalingQuestion, FromPolicy, ToPolicy } from '../protocol/policy.ts';

type Policy = (
  about: AutoscalingContext | Readonly<Record<string, AutoscalingContext>>,
  kwargs: Readonly<Record<string, Json>>,
) => unknown;

let policy: Promise<Policy> | undefined;
let kwargs: Readonly<Record<string, Json>> = {};
let state: Json = null;

const load = async (entry: string, name: string): Promise<Policy> => {
  const module = (await import(pathToFileURL(entry).href)) as Record<string, unknown>;
  const found = module[name];
  if (typeof found !== 'function') throw new Error(`expected \`${name}\` to be a function, got ${typeof found}`);
  return found as Policy;
};

/** What is wanted, or as in Ray Serve a pair of that and a state that is given back the next time. */
const take = (answer: unknown): unknown => {
  if (!Array.isArray(answer)) return answer;
  state = (answer[1] ?? null) as Json;
  return answer[0];
};

const withState = (question: AutoscalingQuestion): AutoscalingContext => ({ ...question, policyState: state });

const answer = async (message: Extract<ToPolicy, { type: 'ask' | 'ask-all' }>): Promise<FromPolicy> => {
  try {
    const decide = await policy;
    if (decide === undefined) throw new Error('no policy was named');
    const about =
      message.type === 'ask'
        ? withState(message.context)
        : Object.fromEntries(Object.entries(message.contexts).map(([name, question]) => [name, withState(question)]));
    return { type: 'answer', replicas: take(await decide(about, kwargs)) };
  } catch (error) {
    return { type: 'error', error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
};

const send = (message: FromPolicy): void => {
  try {
    process.send?.(message);
  } catch {
    process.send?.({ type: 'error', error: 'it returned what cannot be sent' } satisfies FromPolicy);
  }
};

process.on('message', (message: ToPolicy) => {
  if (message.type !== 'load') return void answer(message).then(send);
  kwargs = message.kwargs;
  policy = load(message.entry, message.export);
  // Told with the first answer.
  policy.catch(() => {});
});
// Without a daemon there is nobody to answer.
process.on('disconnect', () => process.exit(0));
process.on('SIGINT', () => {});
process.setSourceMapsEnabled(true);
process.title = 'serve-daemon policy';
