/** Has every application's graph compiled, and gives the mistakes their places in the file. */

import type { DesiredState, Ingress } from '../domain/desired.ts';
import type { FileProblem } from '../domain/diagnostic.ts';
import type { CallTarget } from '../domain/graph.ts';
import type { ModelPorts } from '../domain/model.ts';
import { checkModelSteps } from '../graph/check-values.ts';
import { compileGraph, findCycles, type GraphMistake, type KnownApplication } from '../graph/compile.ts';
import { isRepository } from './check-models.ts';
import { applicationsOf, type Checking, type SeenApplication } from './checking.ts';
import type { Mapping, Path } from './finding.ts';
import type { Places } from './places.ts';
import { graphName, isOwnMistake, readableGraph } from './readable-graph.ts';

export interface WiredApplication {
  readonly name: string;
  readonly ingress: Ingress;
  readonly calls: Readonly<Record<string, Readonly<Record<string, CallTarget>>>>;
}

/** By the index of the application in the file; those with a mistake in them are missing. */
export type Graphs = ReadonlyMap<number, WiredApplication>;

/** What to print for a value from the environment, and the value. */
type Secret = readonly [written: string, secret: string];

type Censor = (message: string, seen: SeenApplication) => string;

/** What the compiler is told about an application, and where it stands. */
interface Known extends KnownApplication {
  readonly seen: SeenApplication;
}

/** What is not of the right shape is passed over; the rest is compiled all the same, so that every mistake is told at once. */
export const checkGraphs = (
  applications: readonly SeenApplication[],
  checking: Checking,
  pending: ReadonlySet<number>,
): Graphs => {
  const known = applications.map(knownOf);
  const censor = censorOf(known, checking.places);
  const wired = new Map<number, WiredApplication>();
  const called: Pick<WiredApplication, 'name' | 'calls'>[] = [];
  for (const application of known) {
    const { seen, graph, name } = application;
    // Its deployments are not known, and change without the file: nothing can be said of how they are wired.
    if (pending.has(Number(seen.path[1])) || isRepository(seen)) continue;
    const { ingress, calls, mistakes } = compileGraph(graph, application, known);
    for (const mistake of mistakes) {
      if (isOwnMistake(mistake, seen, applications, checking)) reportMistake(mistake, seen, censor, checking);
    }
    called.push({ name, calls });
    if (ingress !== undefined && !mistakes.some(({ severity }) => severity === 'error'))
      wired.set(Number(seen.path[1]), { name, ingress, calls });
  }
  for (const cycle of findCycles(called)) reportCycle(cycle, known, censor, checking);
  return wired;
};

/**
 * What can never work between the steps of the applications and the models that they call, each with its place.
 * @param desired what the data came to; applications stand at the same index
 * @param ports by `application/Deployment`, as far as models are known
 */
export const modelMismatches = (
  data: Mapping,
  places: Places,
  desired: DesiredState,
  ports: ReadonlyMap<string, ModelPorts>,
): readonly FileProblem[] => {
  if (ports.size === 0) return [];
  const known = applicationsOf(data).map(knownOf);
  const censor = censorOf(known, places);
  return known.flatMap(({ seen }): readonly FileProblem[] => {
    const { ingress, name: application } = desired.applications[Number(seen.path[1])] ?? {};
    if (ingress?.kind !== 'graph') return [];
    return checkModelSteps(ingress.graph, (target) => ports.get(nameOf(target))).map(({ severity, code, path, message }) => ({
      severity,
      code,
      path: [...seen.path, 'graph', ...path],
      message: censor(message, seen),
      application,
    }));
  });
};

const nameOf = ({ application, deployment }: CallTarget): string => `${application}/${deployment}`;

const knownOf = (seen: SeenApplication): Known => ({
  name: graphName(seen),
  deployments: seen.deployments.flatMap(({ name }) => name ?? []),
  isFolder: isRepository(seen),
  graph: readableGraph(seen.data.graph),
  seen,
});

/** A mistake about a deployment points at it; one about something that is missing, at the innermost that is there. */
const reportMistake = (mistake: GraphMistake, seen: SeenApplication, censor: Censor, checking: Checking): void => {
  const deployment = seen.deployments.find((one) => mistake.deployment !== undefined && one.name === mistake.deployment);
  const path = deployment?.path ?? [...seen.path, ...(seen.data.graph === undefined ? [] : ['graph', ...mistake.path])];
  const message = censor(mistake.message, seen);
  checking.report({ severity: mistake.severity, code: mistake.code, path, message });
};

const reportCycle = (cycle: readonly string[], known: readonly Known[], censor: Censor, checking: Checking): void => {
  const [name = '', caller = ''] = cycle[0]?.split('/') ?? [];
  const seen = known.find((application) => application.name === name)?.seen;
  if (seen === undefined) return;
  const path: Path = [...seen.path, 'graph', 'calls', caller];
  const message = `calls must not run in a circle, as each would wait for the next: ${cycle.join(' → ')}`;
  checking.report({
    severity: 'error',
    code: 'CALL_CYCLE',
    path,
    message: censor(message, seen),
    at: 'key',
  });
};

/**
 * The compiler knows nothing of the environment: what came from there is taken out of its words again.
 * @returns a function, so that what is secret is gathered once for all messages about an application
 */
const censorOf = (known: readonly Known[], places: Places): Censor => {
  const names = known.flatMap(({ seen: application }) =>
    [application, ...application.deployments].flatMap(({ path, name }): readonly Secret[] => {
      const written = places.written([...path, 'name']);
      return written === undefined || name === undefined ? [] : [[written, name]];
    }),
  );
  const ofApplication = new Map<SeenApplication, readonly Secret[]>();
  return (message, seen) => {
    let secrets = ofApplication.get(seen);
    if (secrets === undefined) {
      const all = new Map([...names, ...places.secrets(seen.data.graph)].map(([written, secret]) => [secret, written] as const));
      // The longest first, so that one that is part of another leaves nothing of it behind.
      secrets = [...all].map(([secret, written]) => [written, secret] as const).sort(([, a], [, b]) => b.length - a.length);
      ofApplication.set(seen, secrets);
    }
    let text = message;
    for (const [written, secret] of secrets) {
      if (secret === '') continue;
      text = text.replaceAll(`\`${secret}\``, written).replaceAll(secret, written.slice(1, -1));
      for (const name of namesIn(secret)) text = text.replaceAll(`\`${name}\``, written);
    }
    return text;
  };
};

/** Of a reference or a call a message may name a part. */
const namesIn = (secret: string): readonly string[] => secret.match(/[\p{L}\p{M}\p{N}_-]+/gu) ?? [];
