/** Checks what a schema cannot say about one deployment: what it runs, its files, and options that exclude each other. */
import { checkQuota } from './check-quota.ts';
import { checkScaling, checkSharedPolicy } from './check-scaling.ts';
import type { Checking, SeenApplication, SeenDeployment } from './checking.ts';
import { FILE_MISSING, type Mapping, mappingOf, type Path, quote, textOf } from './finding.ts';
import { absolute, locateModule, pathMistake } from './locate.ts';

export const checkDeployment = (deployment: SeenDeployment, application: SeenApplication, checking: Checking): void => {
  checkRuns(deployment, application, checking);
  checkOptions(deployment, application, checking);
};

/** All but what it runs. */
export const checkOptions = (deployment: SeenDeployment, application: SeenApplication, checking: Checking): void => {
  checkBatching(deployment, checking);
  checkVersions(deployment, checking);
  checkMultiplexing(deployment, checking);
  checkBatchedFunctions(deployment, checking);
  checkSequence(deployment, checking);
  checkResponseCache(deployment, checking);
  checkHandles(deployment, application, checking);
  checkScaling(deployment, application, checking, checkCode);
  checkQuota(deployment, checking);
  const { data, path } = deployment;
  if (isGiven(data.ray_actor_options) && isGiven(data.replica_options)) {
    const message = 'expected one of `replica_options` and `ray_actor_options`, got both; they are two names of one section';
    checking.error('EXCLUSIVE_KEYS', [...path, 'replica_options'], message, 'key');
  }
  for (const section of ['ray_actor_options', 'replica_options']) {
    checkWorkingDir(mappingOf(data[section]), [...path, section], application, checking);
  }
};

export const checkApplicationPolicy = (application: SeenApplication, checking: Checking): void =>
  checkSharedPolicy(application, checking, checkCode);

/** @param holder what has a `runtime_env`: an application, or the options of a deployment */
export const checkWorkingDir = (
  holder: Mapping | undefined,
  path: Path,
  application: SeenApplication,
  checking: Checking,
): void => {
  const folder = mappingOf(holder?.runtime_env)?.working_dir;
  if (typeof folder === 'string') checkPath(folder, [...path, 'runtime_env', 'working_dir'], application, checking);
};

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/** The path of the model, where the deployment runs one. */
const modelOf = ({ data, path }: SeenDeployment): { file: string; path: Path } | undefined => {
  const { model } = data;
  if (typeof model === 'string') return { file: model, path: [...path, 'model'] };
  const file = textOf(mappingOf(model)?.path);
  return file === undefined ? undefined : { file, path: [...path, 'model', 'path'] };
};

const checkRuns = (deployment: SeenDeployment, application: SeenApplication, checking: Checking): void => {
  const { data, path } = deployment;
  const { import_path: code, model } = data;
  if (isGiven(code) && isGiven(model)) {
    checking.error(
      'EXCLUSIVE_KEYS',
      [...path, 'model'],
      'expected `import_path` (code) or `model` (an ONNX file), got both; keep one',
      'key',
    );
  } else if (
    !isGiven(code) &&
    !isGiven(model) &&
    !isGiven(application.data.import_path) &&
    !['import_path', 'model'].some((key) => checking.wrong([...path, key]) || checking.meant([...path, key]))
  ) {
    checking.error(
      'NOTHING_TO_RUN',
      path,
      'expected `import_path` (code) or `model` (an ONNX file), got neither; say what the deployment runs',
    );
  }
  const runsModel = modelOf(deployment);
  if (runsModel !== undefined) {
    const { file, path: at } = runsModel;
    checkPath(file, at, application, checking);
    const runs = { kind: 'model', path: absolute(file, checking.files) } as const;
    if (checking.sound(at) && pathMistake(file) === undefined)
      checking.named.push({ path: at, application: application.name, runs });
  }
  if (typeof code === 'string' && checking.sound([...path, 'import_path']))
    checkCode(code, [...path, 'import_path'], application, checking);
};

/** The code that builds an application. */
export const checkApplicationCode = (application: SeenApplication, checking: Checking): void => {
  const { data, path } = application;
  const at = [...path, 'import_path'];
  if (typeof data.import_path === 'string' && checking.sound(at)) checkCode(data.import_path, at, application, checking);
};

const checkCode = (code: string, path: Path, application: SeenApplication, checking: Checking): void => {
  const located = locateModule(code, checking.files);
  if (typeof located === 'string') {
    const written = checking.places.written(path);
    checking.error('BAD_PATH', path, `${located}, got ${written === undefined ? quote(code) : `another in ${written}`}`);
    return;
  }
  const { file, export: exported, missing } = located;
  checking.named.push({ path, application: application.name, runs: { kind: 'module', file, export: exported } });
  if (missing !== undefined) reportMissing(missing, path, application, checking);
};

const checkPath = (file: string, path: Path, application: SeenApplication, checking: Checking): void => {
  if (!checking.sound(path)) return;
  const mistake = pathMistake(file);
  if (mistake !== undefined) {
    const hidden = checking.places.written(path);
    checking.error(
      'BAD_PATH',
      path,
      hidden === undefined ? `${mistake}, got ${quote(file)}` : `expected a local path, got another in ${hidden}`,
    );
    return;
  }
  const found = absolute(file, checking.files);
  if (!checking.files.exists(found)) reportMissing([found], path, application, checking);
};

const reportMissing = (files: readonly string[], path: Path, { name }: SeenApplication, { places, report }: Checking): void => {
  const written = places.written(path);
  const looked = written === undefined ? files.map(quote).join(', ') : `what ${written} names`;
  const message = `expected a file, got none: there is no such file; looked for ${looked}`;
  report({ severity: 'error', code: FILE_MISSING, path, message, ...(name === undefined ? {} : { application: name }) });
};

const checkBatching = (deployment: SeenDeployment, checking: Checking): void => {
  const { data, path } = deployment;
  const batching = mappingOf(data.batching);
  if (batching === undefined || !checking.sound([...path, 'batching'])) return;
  if (
    isGiven(batching.latency_target_s) &&
    typeof batching.batch_wait_timeout_s === 'number' &&
    batching.batch_wait_timeout_s > 0
  ) {
    const message = '`latency_target_s` decides how long a batch is held; remove `batch_wait_timeout_s`, or the target';
    checking.error('NO_EFFECT', [...path, 'batching', 'batch_wait_timeout_s'], message, 'key');
  }
  if (isGiven(mappingOf(data.model)?.sequence)) {
    const message = 'requests of sequences run one by one, each on the state of its own; remove `batching`, or `model.sequence`';
    checking.error('NO_EFFECT', [...path, 'batching'], message, 'key');
  }
  if (isGiven(data.model)) {
    if (isGiven(batching.method)) {
      checking.error(
        'NO_EFFECT',
        [...path, 'batching', 'method'],
        '`method` is for code; a `model` is run on whole batches',
        'key',
      );
    }
    return;
  }
  if (isGiven(batching.pad) && Object.keys(mappingOf(batching.pad) ?? {}).length > 0) {
    const message = '`pad` is for a `model`; code pads as it likes in its own method';
    checking.error('NO_EFFECT', [...path, 'batching', 'pad'], message, 'key');
  }
  const most = data.max_ongoing_requests;
  const wanted = batching.max_batch_size ?? checking.byDefault([...path, 'batching', 'max_batch_size']);
  if (typeof most !== 'number' || typeof wanted !== 'number' || wanted <= most) return;
  const at = isGiven(batching.max_batch_size) ? [...path, 'batching', 'max_batch_size'] : [...path, 'max_ongoing_requests'];
  const limit = checking.show([...path, 'max_ongoing_requests'], most);
  const size = checking.show([...path, 'batching', 'max_batch_size'], wanted);
  const message = `a batch of ${size} can never fill: a replica has at most ${limit} requests (\`max_ongoing_requests\`); raise that or lower \`max_batch_size\``;
  checking.error('BATCH_NEVER_FULL', at, message);
};

const checkVersions = ({ data, path }: SeenDeployment, checking: Checking): void => {
  const policy = mappingOf(mappingOf(data.model)?.version_policy);
  if (policy === undefined || !isGiven(policy.latest) || !isGiven(policy.specific)) return;
  const message = 'expected one of `latest` and `specific`, got both; keep one';
  checking.error('EXCLUSIVE_KEYS', [...path, 'model', 'version_policy', 'specific'], message, 'key');
};

const checkMultiplexing = ({ data, path }: SeenDeployment, checking: Checking): void => {
  if (!isGiven(data.multiplexing) || !isGiven(data.model)) return;
  const message = '`multiplexing` is for code with `loadModel(id)`; a `model` is the one that its replicas hold';
  checking.error('NO_EFFECT', [...path, 'multiplexing'], message, 'key');
};

const checkBatchedFunctions = ({ data, path }: SeenDeployment, checking: Checking): void => {
  if (!isGiven(data.batched_functions) || !isGiven(data.model)) return;
  const message = '`batched_functions` is for code with `batch()`; what is batched of a `model` is said in `batching`';
  checking.error('NO_EFFECT', [...path, 'batched_functions'], message, 'key');
};

const checkSequence = ({ data, path }: SeenDeployment, checking: Checking): void => {
  const at = [...path, 'model', 'sequence', 'state'];
  const state = mappingOf(mappingOf(mappingOf(data.model)?.sequence)?.state);
  if (state === undefined || Object.keys(state).length > 0 || !checking.sound(at)) return;
  checking.error('BAD_VALUE', at, 'expected the inputs that are state, as `{state: stateN}`, got none', 'key');
};

const checkResponseCache = ({ data, path }: SeenDeployment, checking: Checking): void => {
  if (!isGiven(data.model) || !isGiven(data.response_cache)) return;
  if (isGiven(mappingOf(data.model)?.sequence)) {
    const message = 'answers of a model with a `sequence` follow from what was asked before, and cannot be kept';
    checking.error('EXCLUSIVE_KEYS', [...path, 'response_cache'], message, 'key');
  }
  if (!isGiven(mappingOf(data.response_cache)?.vary)) return;
  const message = '`vary` is for code; a `model` reads no headers but those of the protocol, which always count';
  checking.error('NO_EFFECT', [...path, 'response_cache', 'vary'], message, 'key');
};

/** Handles and `init_args` reach the constructor in one object, so a name must not be in both. */
const checkHandles = (deployment: SeenDeployment, application: SeenApplication, checking: Checking): void => {
  const { name, data } = deployment;
  const handles = name === undefined ? undefined : mappingOf(mappingOf(mappingOf(application.data.graph)?.calls)?.[name]);
  if (handles === undefined || name === undefined) return;
  const path = [...application.path, 'graph', 'calls', name];
  if (isGiven(data.model) && Object.keys(handles).length > 0) {
    checking.error('MODEL_CALLS', path, 'this deployment runs a `model`, and a model calls nobody', 'key');
  }
  for (const handle of Object.keys(handles)) {
    if (!Object.hasOwn(mappingOf(data.init_args) ?? {}, handle)) continue;
    const message = `the handle ${quote(handle)} has the name of an \`init_args\` key, and both are given to the constructor as one; rename one`;
    checking.error('HANDLE_IS_INIT_ARG', [...path, handle], message, 'key');
  }
};
