/** Compiles the `graph` section of an application: who takes its requests, who may call whom, and what is wrong with it. */
import type { Ingress } from '../domain/desired.ts';
import { type CallTarget, targetsOf } from '../domain/graph.ts';
import { listed, suggestion } from './nearest.ts';
import { cyclesOf } from './order.ts';
import type { GraphMistake, GraphSource, KnownApplication, Report } from './source.ts';
import { compileSteps } from './steps.ts';
import { callTarget } from './target.ts';

export type { GraphMistake, GraphSource, KnownApplication, SplitSource, StepSource, VerdictSource } from './source.ts';

export interface CompiledGraph {
  /** undefined where a mistake of severity `error` says why. */
  ingress: Ingress | undefined;
  /** Of those that are mistaken, none is here. */
  calls: Record<string, Record<string, CallTarget>>;
  mistakes: readonly GraphMistake[];
}

/**
 * @param source undefined: the application has no graph section
 * @param all the applications of the whole file, this one too, as calls may cross from one to another
 */
export const compileGraph = (
  source: GraphSource | undefined,
  application: KnownApplication,
  all: readonly KnownApplication[],
): CompiledGraph => {
  const mistakes: GraphMistake[] = [];
  const report: Report = (code, path, message, severity = 'error') => mistakes.push({ severity, code, path, message });
  const hasErrors = () => mistakes.some((mistake) => mistake.severity === 'error');

  const ingress = compileIngress(source ?? {}, application, all, report);
  const serves = hasErrors() ? undefined : ingress;
  const calls = compileCalls(source?.calls ?? {}, application, all, report);
  if (serves !== undefined && !hasErrors()) {
    for (const deployment of unusedDeployments(serves, calls, application, all)) {
      const message = `nothing uses the deployment \`${deployment}\`: it is not the ingress, in no step, and nobody calls it`;
      mistakes.push({ severity: 'warning', code: 'DEPLOYMENT_UNUSED', path: [], message, deployment });
    }
  }
  return { ingress: serves, calls, mistakes };
};

const compileIngress = (
  source: GraphSource,
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): Ingress | undefined => {
  const { deployments } = application;
  const ingress = source.ingress ?? undefined;
  if (ingress !== undefined && !deployments.includes(ingress)) {
    const hint = suggestion(ingress, deployments, 'deployments');
    report('UNKNOWN_DEPLOYMENT', ['ingress'], `there is no deployment \`${ingress}\` in \`${application.name}\`${hint}`);
  }
  if (source.steps !== undefined && source.steps !== null) {
    if (ingress !== undefined) {
      report(
        'INGRESS_BESIDE_STEPS',
        ['ingress'],
        '`ingress` and `steps` exclude each other: with `steps` the daemon itself takes the requests',
      );
    }
    const graph = compileSteps(source.steps, source.output, application, all, report);
    return graph && { kind: 'graph', graph };
  }
  if (source.output !== undefined)
    report('OUTPUT_WITHOUT_STEPS', ['output'], '`output` says what `steps` answer, and there are no `steps`');
  if (ingress !== undefined) return { kind: 'deployment', deployment: ingress };
  const [only] = deployments;
  if (only !== undefined && deployments.length === 1) return { kind: 'deployment', deployment: only };
  const message =
    only === undefined
      ? `the application \`${application.name}\` has no deployment`
      : `\`${application.name}\` has several deployments (${listed(deployments)}): say with \`graph.ingress\` which of them takes the requests, or wire them with \`graph.steps\``;
  report('INGRESS_NEEDED', [], message);
  return undefined;
};

const compileCalls = (
  source: NonNullable<GraphSource['calls']>,
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): Record<string, Record<string, CallTarget>> => {
  const calls: [string, Record<string, CallTarget>][] = [];
  for (const [caller, handles] of Object.entries(source)) {
    const isKnown = application.deployments.includes(caller);
    if (!isKnown) {
      const hint = suggestion(caller, application.deployments, 'deployments');
      report('UNKNOWN_DEPLOYMENT', ['calls', caller], `there is no deployment \`${caller}\` in \`${application.name}\`${hint}`);
    }
    const targets: [string, CallTarget][] = [];
    for (const [handle, call] of Object.entries(handles ?? {})) {
      const path = ['calls', caller, handle];
      const target = callTarget(call, path, application, all, report);
      if (target === undefined) continue;
      if (call.includes('.')) {
        report(
          'BAD_CALL',
          path,
          `\`${call}\`: a handle calls any method, so only the deployment is named, as in \`${call.replace(/\..*$/, '')}\``,
        );
      } else targets.push([handle, target]);
    }
    if (isKnown) calls.push([caller, Object.fromEntries(targets)]);
  }
  return Object.fromEntries(calls);
};

const unusedDeployments = (
  ingress: Ingress,
  calls: Record<string, Record<string, CallTarget>>,
  application: KnownApplication,
  all: readonly KnownApplication[],
): readonly string[] => {
  const targets = ingress.kind === 'graph' ? ingress.graph.steps.flatMap(targetsOf) : [];
  const used = new Set([...targets, ...Object.values(calls).flatMap((handles) => Object.values(handles))].map(nameOf));
  if (ingress.kind === 'deployment') used.add(`${application.name}/${ingress.deployment}`);
  const across = usedAcross(all);
  const names = application.deployments.map((deployment) => [deployment, `${application.name}/${deployment}`] as const);
  return names.flatMap(([deployment, name]) => (used.has(name) || across.has(name) ? [] : [deployment]));
};

/** `application/Deployment` as any graph of the file writes it; gathered once for all applications, as there may be thousands. */
const usedAcross = (all: readonly KnownApplication[]): ReadonlySet<string> => {
  const known = across.get(all);
  if (known !== undefined) return known;
  const used = new Set<string>();
  const use = (call: string | undefined) => call !== undefined && used.add(call.replace(/\..*$/, ''));
  for (const { graph } of all) {
    for (const { call, split, shadow } of Object.values(graph?.steps ?? {})) {
      use(call);
      for (const target of split?.targets ?? []) use(target.call);
      use(shadow?.call);
    }
    for (const handles of Object.values(graph?.calls ?? {})) for (const call of Object.values(handles ?? {})) use(call);
  }
  across.set(all, used);
  return used;
};

const across = new WeakMap<readonly KnownApplication[], ReadonlySet<string>>();

const nameOf = (target: CallTarget): string => `${target.application}/${target.deployment}`;

/**
 * The cycles over calls of all applications (self-calls included), each as a path of `app/Deployment` names ending where it
 * began; of those that share a call, one. Only `calls` are edges: the steps of a graph are called by the daemon, which holds no
 * replica meanwhile, and nothing can call a graph, so none lies on a cycle. (Steps that need each other are found in compiling.)
 */
export const findCycles = (
  applications: readonly { name: string; calls: Readonly<Record<string, Readonly<Record<string, CallTarget>>>> }[],
): readonly (readonly string[])[] => {
  const edges = new Map<string, readonly string[]>();
  for (const { name, calls } of applications) {
    for (const [caller, handles] of Object.entries(calls)) edges.set(`${name}/${caller}`, Object.values(handles).map(nameOf));
  }
  return cyclesOf(edges);
};
