/** Has every application's graph compiled, and gives the mistakes their places in the file. */

import type { Ingress } from '../domain/desired.ts';
import type { CallTarget } from '../domain/graph.ts';
import { compileGraph, findCycles, type GraphMistake, type KnownApplication } from '../graph/compile.ts';
import { isRepository } from './check-models.ts';
import type { Checking, SeenApplication } from './checking.ts';
import type { Path } from './finding.ts';
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
  const censor = censorOf(known, checking);
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
const censorOf = (known: readonly Known[], { places }: Checking): Censor => {
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
      if (secret !== '') text = text.replaceAll(`\`${secret}\``, written).replaceAll(secret, written.slice(1, -1));
    }
    return text;
  };
};
