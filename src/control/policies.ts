/** The policy processes of what has one: started when first asked, anew when their code changes, ended when they leave. */
import type { AutoscalingQuestion } from '../protocol/policy.ts';
import type { Log } from './fleet.ts';
import { PolicyProcess } from './policy-process.ts';
import type { PolicyQuestion } from './scaler.ts';
import { hashOf, type TargetApplication, type TargetDeployment } from './target.ts';

export interface PoliciesOptions {
  readonly log: Log;
  readonly program: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly configDir: () => string;
}

/** By deployment; that of a deployment alone has one entry. */
type Wishes = Readonly<Record<string, number>>;

interface Running {
  /** Equal: the same code with the same arguments. */
  readonly identity: string;
  readonly isShared: boolean;
  readonly process: PolicyProcess<Wishes>;
  /** Of each deployment it decides for, what was last known. */
  readonly questions: Map<string, AutoscalingQuestion>;
  /** Deployments it decides for: it is asked when something is known of each. */
  members: number;
}

export class Policies {
  readonly #options: PoliciesOptions;
  /** By `application/Deployment`; the deployments of an application with a policy of its own share one. */
  #running: ReadonlyMap<string, Running> = new Map();

  constructor(options: PoliciesOptions) {
    this.#options = options;
  }

  follow(targets: readonly TargetApplication[]): void {
    const running = new Map<string, Running>();
    const known = new Map([...this.#running.values()].map((each) => [each.identity, each]));
    for (const { spec: application, deployments } of targets) {
      for (const target of deployments) {
        const identity = identityOf(application.name, target);
        if (identity === undefined) continue;
        const adopted = known.get(identity) ?? this.#start(application.name, target, identity);
        known.set(identity, adopted);
        running.set(`${application.name}/${target.spec.name}`, adopted);
      }
    }
    const kept = new Set(running.values());
    for (const each of new Set(this.#running.values())) if (!kept.has(each)) each.process.close();
    // One that has left must not be decided for.
    for (const each of kept) {
      each.questions.clear();
      each.members = [...running.values()].filter((other) => other === each).length;
    }
    this.#running = running;
  }

  #start(application: string, { spec, policy }: TargetDeployment, identity: string): Running {
    const { log, program, env, configDir } = this.#options;
    const { kwargs = {}, isShared = false } = spec.autoscaling?.policy ?? {};
    const about = isShared ? { application } : { deployment: `${application}/${spec.name}` };
    const process = new PolicyProcess<Wishes>({
      program,
      cwd: (isShared ? null : spec.workingDir) ?? configDir(),
      env: isShared ? env : { ...env, ...spec.env },
      code: policy ?? { entry: '', export: '' },
      kwargs,
      read: isShared ? readAll : (answer) => readOne(spec.name, answer),
      onLine: (stream, line) => log.info({ ...about, stream }, `policy: ${line}`),
      onProblem: (problem) => log.error({ ...about, error: problem }, 'the autoscaling policy failed: the last target stays'),
    });
    return { identity, isShared, process, questions: new Map(), members: 0 };
  }

  /** See `AskPolicy`. */
  ask(key: string, question: PolicyQuestion): number | undefined {
    const running = this.#running.get(key);
    if (running === undefined) return undefined;
    const { name } = question.spec;
    const context = contextOf(question);
    running.questions.set(name, context);
    if (running.questions.size < running.members) return undefined;
    const contexts = Object.fromEntries(running.questions);
    const wishes = running.process.ask(running.isShared ? { type: 'ask-all', contexts } : { type: 'ask', context });
    return wishes !== undefined && Object.hasOwn(wishes, name) ? wishes[name] : undefined;
  }

  problemOf(key: string): string | undefined {
    return this.#running.get(key)?.process.problem;
  }

  close(): void {
    for (const { process } of this.#running.values()) process.close();
    this.#running = new Map();
  }
}

const identityOf = (application: string, { spec, policy }: TargetDeployment): string | undefined => {
  const said = spec.autoscaling?.policy;
  if (policy === undefined || said === undefined || said === null) return undefined;
  const own = said.isShared ? [] : [spec.name, spec.env, spec.workingDir];
  return hashOf([application, policy, said.kwargs, said.isShared, own]);
};

const contextOf = ({ application, spec, load, running, target, bounds }: PolicyQuestion): AutoscalingQuestion => ({
  appName: application,
  deploymentName: spec.name,
  currentNumReplicas: running,
  targetNumReplicas: target,
  totalNumRequests: load.requests,
  totalQueuedRequests: Math.max(0, load.requests - load.ongoing),
  totalRunningRequests: load.ongoing,
  queueDelayS: load.queueDelayMs / 1000,
  capacityAdjustedMinReplicas: bounds.lower,
  capacityAdjustedMaxReplicas: bounds.upper,
  currentTime: Date.now() / 1000,
});

const isCount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0;
const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 100) ?? typeof value;

const readOne = (name: string, answer: unknown): { wish: Wishes } | string =>
  isCount(answer) ? { wish: { [name]: answer } } : `expected a number of replicas, got ${shown(answer)}`;

const readAll = (answer: unknown): { wish: Wishes } | string =>
  typeof answer === 'object' && answer !== null && !Array.isArray(answer) && Object.values(answer).every(isCount)
    ? { wish: answer as Wishes }
    : `expected numbers of replicas by deployment, got ${shown(answer)}`;
