/** The models of a snapshot under the names that clients of the Open Inference Protocol have for them, and what is told of each. Pure. */
import { DEFAULT_PRIORITY, LEAST_URGENT, MOST_URGENT } from '../dispatch/priority.ts';
import type { SequenceLimits } from '../domain/desired.ts';
import { ServeError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { ModelPort, ModelVersion } from '../domain/model.ts';
import type { ApplicationRouting, DeploymentRouting, RoutingSnapshot } from '../domain/snapshot.ts';
import { DATATYPES } from '../protocol/datatypes.ts';
import type { Dtype } from '../protocol/value.ts';

export interface ServedModel {
  /** Its deployment's name, or `application/Deployment` where another has that. */
  readonly name: string;
  readonly application: ApplicationRouting;
  readonly deployment: string;
  /** undefined: its application does not serve. */
  readonly routing: DeploymentRouting | undefined;
}

const PREFIX = '/v2';
const ON_GPU: ReadonlySet<string> = new Set(['cuda', 'tensorrt']);
const PLATFORM = 'onnxruntime_onnx';
/** Triton counts from 1, the most urgent. */
const PRIORITIES = {
  priority_levels: LEAST_URGENT - MOST_URGENT + 1,
  default_priority_level: DEFAULT_PRIORITY - MOST_URGENT + 1,
};

export class InferenceModels {
  readonly #byName: ReadonlyMap<string, ServedModel>;
  /** In the order of the config. */
  readonly all: readonly ServedModel[];
  /** There is a model on HTTP, and no application has taken the path. */
  readonly isOn: boolean;

  constructor(snapshot: Pick<RoutingSnapshot, 'applications'> = { applications: [] }) {
    const { applications } = snapshot;
    // One that is not on HTTP is not on this path either.
    const found = applications.flatMap((application) =>
      application.routePrefix === null ? [] : (application.models ?? []).map((deployment) => ({ application, deployment })),
    );
    const holders = holdersOf(found);
    this.all = found.map(({ application, deployment }) => ({
      name: holders.get(deployment) === application ? deployment : fullName(application, deployment),
      application,
      deployment,
      routing: application.deployments.find((each) => each.name === deployment),
    }));
    const names = this.all.flatMap((model) => [
      [fullName(model.application, model.deployment), model] as const,
      [model.name, model] as const,
    ]);
    this.#byName = new Map(names);
    const isTaken = applications.some(({ routePrefix, repository }) => repository === undefined && isUnder(routePrefix));
    // A folder of models may be filled at any time.
    const isExpected = applications.some(({ ingress, routePrefix }) => ingress.kind === 'models' && routePrefix !== null);
    this.isOn = (found.length > 0 || isExpected) && !isTaken;
  }

  takes(path: string): boolean {
    return this.isOn && path.startsWith(PREFIX) && (path.length === PREFIX.length || path.charCodeAt(PREFIX.length) === 0x2f);
  }

  /** @throws ServeError ROUTE_NOT_FOUND */
  get(name: string): ServedModel {
    const model = this.#byName.get(name);
    if (model !== undefined) return model;
    const names = this.all.slice(0, 20).map((each) => each.name);
    const more = this.all.length > names.length ? ` and ${this.all.length - names.length} more` : '';
    throw new ServeError('ROUTE_NOT_FOUND', `Model '${name}' not found. There is ${names.join(', ') || 'none'}${more}.`);
  }
}

const isUnder = (route: string | null): boolean => route === PREFIX || route?.startsWith(`${PREFIX}/`) === true;

/**
 * Who has the short name, by name. What the config names comes before what was found in a folder, so that no file that appears takes a name
 * away; of several that the config names none has it. Of those in folders the first that serves has it, else the first.
 */
const holdersOf = (
  found: readonly { readonly application: ApplicationRouting; readonly deployment: string }[],
): ReadonlyMap<string, ApplicationRouting | undefined> => {
  const holders = new Map<string, ApplicationRouting | undefined>();
  const said = found.filter(({ application }) => application.repository === undefined);
  for (const { application, deployment } of said) holders.set(deployment, holders.has(deployment) ? undefined : application);
  const ofFolders = found.filter(({ application }) => application.repository !== undefined);
  const serves = ({ application }: (typeof found)[number]) => application.unavailable === null;
  for (const { application, deployment } of [...ofFolders.filter(serves), ...ofFolders])
    if (!holders.has(deployment)) holders.set(deployment, application);
  return holders;
};

/** A model that was found in a folder goes by the application that has the folder. */
const fullName = ({ name, repository }: ApplicationRouting, deployment: string): string => `${repository ?? name}/${deployment}`;

/**
 * What is known of one version; the newest where none is named.
 * @throws ServeError UNAVAILABLE as long as no replica has told, ROUTE_NOT_FOUND
 */
export const versionOf = ({ name, application, routing }: ServedModel, version: string | undefined): ModelVersion => {
  const versions = routing?.model?.versions;
  if (versions === undefined) {
    const why = application.unavailable ?? routing?.refuse ?? `Model '${name}' has no replica that is ready.`;
    throw new ServeError('UNAVAILABLE', why, { retryAfterS: 1 });
  }
  const found = version === undefined ? versions.at(-1) : versions.find((each) => each.version === version);
  if (found !== undefined) return found;
  const served = versions.map((each) => each.version).join(', ');
  throw new ServeError('ROUTE_NOT_FOUND', `Model '${name}' has no version '${version}'. There is ${served}.`);
};

export const metadataOf = (model: ServedModel, version: ModelVersion): Json => ({
  name: model.name,
  versions: (model.routing?.model?.versions ?? [version]).map((each) => each.version),
  platform: PLATFORM,
  inputs: version.inputs.map(tensorMetadata),
  outputs: version.outputs.map(tensorMetadata),
});

const datatypeOf = (dtype: string): string => (Object.hasOwn(DATATYPES, dtype) ? DATATYPES[dtype as Dtype] : dtype);

/** The protocol has no word for any number of extents: one that may be anything comes nearest. */
const tensorMetadata = ({ name, dtype, shape }: ModelPort): Json => ({
  name,
  datatype: datatypeOf(dtype),
  shape: shape === null ? [-1] : [...shape],
});

/** As Triton's ModelConfig, which load generators read. With batches its `dims` are without the batch's extent. */
export const configOf = (model: ServedModel, version: ModelVersion, replicas: number): Json => {
  const { batching, sequence, responseCache } = model.routing as DeploymentRouting;
  const isBatched = batching !== null && [...version.inputs, ...version.outputs].every(({ shape }) => shape?.[0] === -1);
  const port = ({ name, dtype, shape }: ModelPort): Json => {
    return {
      name,
      data_type: typeOf(dtype),
      dims: shape === null ? [-1] : shape.slice(isBatched ? 1 : 0),
    };
  };
  return {
    name: model.name,
    platform: PLATFORM,
    backend: 'onnxruntime',
    max_batch_size: isBatched ? batching.maxBatchSize : 0,
    input: version.inputs.map(port),
    output: version.outputs.map(port),
    instance_group: [
      { name: model.deployment, kind: ON_GPU.has(version.provider ?? '') ? 'KIND_GPU' : 'KIND_CPU', count: replicas },
    ],
    version_policy: { specific: { versions: (model.routing?.model?.versions ?? []).map((each) => Number(each.version)) } },
    ...(isBatched
      ? { dynamic_batching: { max_queue_delay_microseconds: Math.round(batching.waitMs * 1000), ...PRIORITIES } }
      : {}),
    ...(sequence === undefined ? {} : { sequence_batching: sequenceBatching(sequence, version) }),
    model_transaction_policy: { decoupled: false },
    ...(responseCache === undefined ? {} : { response_cache: { enable: true } }),
    parameters: {},
  };
};

const typeOf = (dtype: string): string => {
  const datatype = datatypeOf(dtype);
  return `TYPE_${datatype === 'BYTES' ? 'STRING' : datatype}`;
};

const sequenceBatching = ({ idleTimeoutMs, maxSequences }: SequenceLimits, { states = [] }: ModelVersion): Json => ({
  max_sequence_idle_microseconds: Math.round(idleTimeoutMs * 1000),
  oldest: { max_candidate_sequences: maxSequences },
  state: states.map(({ name, output, dtype, shape }) => ({
    input_name: name,
    output_name: output,
    data_type: typeOf(dtype),
    dims: shape === null ? [-1] : [...shape],
  })),
});
