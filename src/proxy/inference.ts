/** The Open Inference Protocol over HTTP: what is known here is answered here; an inference goes to the model's replicas as it came. */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import type { CacheUse } from '../dispatch/pending.ts';
import { ServeError } from '../domain/errors.ts';
import type { Json } from '../domain/json.ts';
import type { ModelDescription } from '../domain/model.ts';
import type { ApplicationRouting, RoutingSnapshot } from '../domain/snapshot.ts';
import { parseJson } from '../protocol/http-value.ts';
import type { ModelPath } from '../protocol/inference-path.ts';
import type { HttpAnswerHead } from '../protocol/messages.ts';
import { takeRunReport } from '../protocol/run-report.ts';
import { VERSION } from '../version.ts';
import { configOf, InferenceModels, metadataOf, type ServedModel, versionOf } from './inference-models.ts';
import { inferenceAsk } from './inference-route.ts';
import { InferenceStats, type InferenceTimes } from './inference-stats.ts';

/** What is really served, by the names that the protocol has. */
const EXTENSIONS = [
  'binary_tensor_data',
  'parameters',
  'statistics',
  'model_configuration',
  'model_repository',
  'schedule_policy',
  'sequence',
  'sequence(string_id)',
];
/** Of a body that is read here; bodies of inferences are not. */
const MAX_BODY_BYTES = 65_536;

export type InferenceOutcome =
  | { readonly kind: 'answer'; readonly json: Json }
  /** To be sent to the model's deployment. */
  | { readonly kind: 'infer'; readonly model: ServedModel; readonly version: string | undefined };

export interface InferenceState {
  readonly ready: boolean;
  readonly draining: boolean;
}

export class Inference {
  readonly #dispatcher: Pick<Dispatcher, 'generation' | 'slots'>;
  readonly #stats = new InferenceStats();
  #models = new InferenceModels();
  /** By `application/Deployment@version`. */
  #known: ReadonlyMap<string, ModelDescription> = new Map();

  constructor(dispatcher: Pick<Dispatcher, 'generation' | 'slots'>) {
    this.#dispatcher = dispatcher;
  }

  apply(snapshot: RoutingSnapshot): void {
    this.#models = new InferenceModels({ applications: this.#remembered(snapshot.applications) });
    this.#stats.keep(new Set(this.#models.all.map(keyOf)));
  }

  /** With what replicas that have gone told of a model that is still the same: one that is scaled to zero has none to ask. */
  #remembered(applications: readonly ApplicationRouting[]): readonly ApplicationRouting[] {
    const known = new Map<string, ModelDescription>();
    const remembered = applications.map((application) => ({
      ...application,
      deployments: application.deployments.map((deployment) => {
        const key = `${application.name}/${deployment.name}@${deployment.version}`;
        const model = deployment.model ?? this.#known.get(key);
        if (model === undefined) return deployment;
        known.set(key, model);
        return { ...deployment, model };
      }),
    }));
    this.#known = known;
    return remembered;
  }

  /** Whether a path (without the root path) is the protocol's. */
  takes(path: string): boolean {
    return this.#models.takes(path);
  }

  /**
   * @param body of what is no inference
   * @throws ServeError
   */
  ask(method: string, path: string, body: Uint8Array, state: InferenceState): InferenceOutcome {
    const ask = inferenceAsk(method, path);
    switch (ask.kind) {
      case 'live':
        return answer({ live: true });
      case 'ready':
        return answer(this.#ready(state));
      case 'server':
        return answer({ name: 'serve-daemon', version: VERSION, extensions: EXTENSIONS });
      case 'statistics':
        return answer({ model_stats: this.#models.all.flatMap((model) => this.#statistics(model, undefined)) });
      case 'index':
        return answer(this.#index(body));
      case 'model':
        return this.#ofModel(ask.of);
      case 'load':
      case 'unload':
        return answer(this.#move(ask.kind, this.#models.get(ask.model), body));
      default:
        return ask satisfies never;
    }
  }

  /** Takes what the replica told of the run out of its answer: with one from the cache, of a run that was for another. */
  answered(model: ServedModel, http: HttpAnswerHead, times: InferenceTimes, cache: CacheUse | undefined): HttpAnswerHead {
    const { report, headers } = takeRunReport(http.headers);
    if (report !== undefined && isServed(model, report.version))
      this.#stats.succeeded(keyOf(model), report, times, cache, Date.now());
    return { status: http.status, headers };
  }

  failed(model: ServedModel, version: string | undefined, totalMs: number): void {
    const failed = version ?? model.routing?.model?.versions.at(-1)?.version;
    if (failed !== undefined && isServed(model, failed)) this.#stats.failed(keyOf(model), failed, totalMs);
  }

  #ofModel({ model: name, version, action }: ModelPath): InferenceOutcome {
    const model = this.#models.get(name);
    if (action === 'infer') {
      // Where no replica has told yet, the one that takes the request knows.
      if (model.routing?.model !== undefined) versionOf(model, version);
      return { kind: 'infer', model, version };
    }
    if (action === 'ready') {
      if (model.routing?.model !== undefined) versionOf(model, version);
      if (this.#serves(model)) return answer({ name: model.name, ready: true });
      const why = model.application.unavailable ?? model.routing?.refuse ?? `Model '${name}' has no replica that is ready.`;
      throw new ServeError('UNAVAILABLE', why, { retryAfterS: 1 });
    }
    const known = versionOf(model, version);
    switch (action) {
      case 'metadata':
        return answer(metadataOf(model, known));
      case 'config':
        return answer(configOf(model, known, this.#replicas(model)));
      case 'stats':
        return answer({ model_stats: this.#statistics(model, version) });
      default:
        return action satisfies never;
    }
  }

  #ready({ ready, draining }: InferenceState): Json {
    if (draining) throw new ServeError('UNAVAILABLE', 'The daemon is stopping.', { retryAfterS: 1 });
    const waiting = this.#models.all.filter((model) => !this.#serves(model) && !isComing(model)).map(({ name }) => name);
    if (waiting.length > 0) {
      const message = `Not ready: ${waiting.slice(0, 20).join(', ')}${waiting.length > 20 ? ', …' : ''}.`;
      throw new ServeError('UNAVAILABLE', message, { retryAfterS: 1 });
    }
    if (!ready) throw new ServeError('UNAVAILABLE', 'Not every application is ready yet.', { retryAfterS: 1 });
    return { ready: true };
  }

  /** It takes requests: replicas are there, or come with the first of them. */
  #serves(model: Omit<ServedModel, 'name'>): boolean {
    const { application, routing } = model;
    if (application.unavailable !== null || routing === undefined || routing.refuse !== null) return false;
    return routing.autoscales || this.#replicas(model) > 0;
  }

  /** Why it takes no requests; undefined: it does. */
  whyNot(model: Omit<ServedModel, 'name'>): string | undefined {
    if (this.#serves(model)) return undefined;
    return model.application.unavailable ?? model.routing?.refuse ?? 'no replica is ready';
  }

  /** Those that would take a request now. */
  #replicas({ application, deployment, routing }: Omit<ServedModel, 'name'>): number {
    const generation = this.#dispatcher.generation(application.name);
    if (generation === undefined || routing === undefined) return 0;
    const slots = this.#dispatcher.slots(generation, { application: application.name, deployment, method: 'infer' });
    return Math.round(slots / Math.max(1, routing.maxOngoingRequests));
  }

  #statistics(model: ServedModel, version: string | undefined): readonly Json[] {
    const versions = version === undefined ? (model.routing?.model?.versions ?? []).map((each) => each.version) : [version];
    return versions.map((each) => this.#stats.read(model.name, keyOf(model), each));
  }

  /** All models, whether they serve or not; with `{"ready": true}` those that do. */
  #index(body: Uint8Array): Json {
    const { ready } = smallBody(body);
    if (ready !== undefined && typeof ready !== 'boolean')
      throw new ServeError('INVALID_INPUT', 'expected `ready` to be true or false');
    return this.#models.all.flatMap((model) => {
      const why = this.whyNot(model);
      if (ready === true && why !== undefined) return [];
      const versions: readonly { readonly version?: string }[] = model.routing?.model?.versions ?? [{}];
      return versions.map(({ version }) => ({
        name: model.name,
        ...(version === undefined ? {} : { version }),
        state: why === undefined ? 'READY' : 'UNAVAILABLE',
        reason: why ?? '',
      }));
    });
  }

  /** The config file says which models are served: a client can ask for one that is, and cannot take one away from the others. */
  #move(kind: 'load' | 'unload', model: ServedModel, body: Uint8Array): Json {
    const { parameters } = smallBody(body);
    const given = typeof parameters === 'object' && parameters !== null ? Object.keys(parameters) : [];
    const odd = given.find((name) => name !== 'unload_dependents');
    if (odd !== undefined)
      throw new ServeError(
        'INVALID_INPUT',
        `\`parameters.${odd.slice(0, 60)}\` is not served: the config file says what a model is`,
      );
    if (kind === 'unload')
      throw new ServeError(
        'INVALID_INPUT',
        `Model '${model.name}' is served as the config file says: take it out there to unload it.`,
      );
    if (this.#serves(model)) return {};
    const why = model.application.unavailable ?? model.routing?.refuse ?? 'no replica is ready yet';
    throw new ServeError('UNAVAILABLE', `Model '${model.name}' is not loaded: ${why}`, { retryAfterS: 1 });
  }
}

const answer = (json: Json): InferenceOutcome => ({ kind: 'answer', json });

/** Of a folder of models, and never served: whoever copies one there must not take all the others out of service. */
const isComing = ({ application }: ServedModel): boolean =>
  application.repository !== undefined && application.unavailable !== null;

const keyOf = ({ application, deployment }: ServedModel): string => `${application.name}/${deployment}`;

/** Clients and replicas may name any version: counts are kept of those that are served. */
const isServed = ({ routing }: ServedModel, version: string): boolean =>
  routing?.model?.versions.some((each) => each.version === version) === true;

const smallBody = (body: Uint8Array): Readonly<Record<string, unknown>> => {
  if (body.byteLength === 0) return {};
  if (body.byteLength > MAX_BODY_BYTES)
    throw new ServeError('INVALID_INPUT', `expected a body of at most ${MAX_BODY_BYTES} bytes, got ${body.byteLength}`);
  const parsed = parseJson(Buffer.from(body).toString('utf8'));
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  throw new ServeError('INVALID_INPUT', 'expected the body to be an object');
};
