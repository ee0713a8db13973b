/** The policy processes of the deployments that have one: started when first asked, anew when their code changes, ended when they leave. */
import type { Log } from './controller.ts';
import { PolicyProcess } from './policy-process.ts';
import type { PolicyQuestion } from './scaler.ts';
import { hashOf, type TargetApplication, type TargetDeployment } from './target.ts';

export interface PoliciesOptions {
  readonly log: Log;
  readonly program: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly configDir: () => string;
}

interface Running {
  /** Equal: the same code with the same arguments. */
  readonly identity: string;
  readonly process: PolicyProcess;
}

export class Policies {
  readonly #options: PoliciesOptions;
  readonly #running = new Map<string, Running>();

  constructor(options: PoliciesOptions) {
    this.#options = options;
  }

  follow(targets: readonly TargetApplication[]): void {
    const wanted = new Set<string>();
    for (const { spec, deployments } of targets) {
      for (const target of deployments) {
        const key = `${spec.name}/${target.spec.name}`;
        const process = this.#adopt(key, target);
        if (process !== undefined) wanted.add(key);
      }
    }
    for (const [key, { process }] of this.#running) {
      if (wanted.has(key)) continue;
      process.close();
      this.#running.delete(key);
    }
  }

  #adopt(key: string, { spec, policy }: TargetDeployment): PolicyProcess | undefined {
    const kwargs = spec.autoscaling?.policy?.kwargs;
    if (policy === undefined || kwargs === undefined) return undefined;
    const identity = hashOf([policy, kwargs, spec.env, spec.workingDir]);
    const known = this.#running.get(key);
    if (known?.identity === identity) return known.process;
    known?.process.close();
    const { log, program, env, configDir } = this.#options;
    const process = new PolicyProcess({
      program,
      cwd: spec.workingDir ?? configDir(),
      env: { ...env, ...spec.env },
      code: policy,
      kwargs,
      onLine: (stream, line) => log.info({ deployment: key, stream }, `policy: ${line}`),
      onProblem: (problem) =>
        log.error({ deployment: key, error: problem }, 'the autoscaling policy failed: the last target stays'),
    });
    this.#running.set(key, { identity, process });
    return process;
  }

  /** See `AskPolicy`. */
  ask(key: string, { application, spec, load, running, target, bounds }: PolicyQuestion): number | undefined {
    return this.#running.get(key)?.process.ask({
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
  }

  problemOf(key: string): string | undefined {
    return this.#running.get(key)?.process.problem;
  }

  close(): void {
    for (const { process } of this.#running.values()) process.close();
    this.#running.clear();
  }
}
