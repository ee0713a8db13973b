/** Who calls whom in an application, from its graph and the calls that it declares, in Ray Serve's shape with the edges beside it. Pure. */
import type { ApplicationSpec } from '../domain/desired.ts';
import { targetsOf } from '../domain/graph.ts';

export interface Topology {
  readonly app_name: string;
  /** null: a flow of steps, which the daemon runs. */
  readonly ingress_deployment: string | null;
  readonly nodes: Readonly<Record<string, TopologyNode>>;
  readonly edges: readonly Edge[];
}

interface TopologyNode {
  readonly name: string;
  readonly app_name: string;
  /** HTTP reaches it first. */
  readonly is_ingress: boolean;
  readonly outbound_deployments: readonly { readonly name: string; readonly app_name: string }[];
}

interface Edge {
  /** A deployment; with a flow, the step that the value comes from, or `request`. */
  readonly from: string;
  /** A deployment, of another application as `application/Deployment`; with a flow, a step. */
  readonly to: string;
  /** The handle's name, or the deployment that the step calls; with a `split` there is an edge for each. */
  readonly via: string;
  /** It gets a copy, and its answer goes to nobody. */
  readonly shadow?: true;
}

export const topologyOf = ({ name, deployments, ingress, calls }: ApplicationSpec): Topology => {
  const steps = ingress.kind === 'graph' ? ingress.graph.steps : [];
  const shown = (application: string, deployment: string) => (application === name ? deployment : `${application}/${deployment}`);
  const entries = new Set(
    ingress.kind === 'deployment'
      ? [ingress.deployment]
      : steps
          .filter(({ needs }) => needs.length === 0)
          .flatMap(({ target, split }) => split?.targets.map((each) => each.target) ?? [target])
          .flatMap(({ application, deployment }) => (application === name ? [deployment] : [])),
  );
  const nodes: Record<string, TopologyNode> = {};
  for (const { name: deployment } of deployments) {
    const called = Object.values(calls[deployment] ?? {});
    nodes[deployment] = {
      name: deployment,
      app_name: name,
      is_ingress: entries.has(deployment),
      outbound_deployments: called.map((target) => ({ name: target.deployment, app_name: target.application })),
    };
  }
  const edges = [
    ...Object.entries(calls).flatMap(([from, handles]) =>
      Object.entries(handles).map(([via, { application, deployment }]) => ({ from, to: shown(application, deployment), via })),
    ),
    ...steps.flatMap((step) => {
      const { name: to, needs, shadow } = step;
      return (needs.length === 0 ? ['request'] : needs).flatMap((from) =>
        targetsOf(step).map((target): Edge => {
          const edge = { from, to, via: shown(target.application, target.deployment) };
          return target === shadow?.target ? { ...edge, shadow: true } : edge;
        }),
      );
    }),
  ];
  return { app_name: name, ingress_deployment: ingress.kind === 'deployment' ? ingress.deployment : null, nodes, edges };
};
