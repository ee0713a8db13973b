/**
 * What a `config.pbtxt` beside a model says, as fields of a deployment. What has no meaning here is told, at its place: nothing is passed
 * over in silence but what only repeats what the model's file says. Pure.
 * @see the message ModelConfig of Triton's model_config.proto
 */
import { nearest } from '../graph/nearest.ts';
import { type Finding, type Mapping, quote } from './finding.ts';
import { type PbMessage, PbtxtError, type PbValue, parsePbtxt } from './pbtxt.ts';
import { nodeAt } from './schema.ts';

/** Of the file. */
export const CONFIG_NAME = 'config.pbtxt';

export interface TritonConfig {
  /** Fields of a deployment; null takes a section away. */
  readonly fields: Mapping;
  /** By offsets in the text. An error: the model cannot be served by it. */
  readonly findings: readonly Finding[];
}

/** @param name of the folder that the file stands in @throws nothing, whatever the text */
export const readTritonConfig = (text: string, name: string): TritonConfig => {
  try {
    return new Reader(name).read(parsePbtxt(text));
  } catch (error) {
    if (!(error instanceof PbtxtError)) throw error;
    const { message, offset } = error;
    return { fields: mapping(), findings: [{ severity: 'error', code: 'PBTXT_SYNTAX', path: [], message, offset }] };
  }
};

type Path = readonly string[];

/** What becomes of a field. `many`: it may be repeated. */
interface Known {
  readonly many?: true;
  readonly take: (value: PbValue, path: Path) => void;
}

type Fields = Readonly<Record<string, Known>>;

const mapping = (): Mapping => Object.create(null) as Mapping;

/** The most that a field of a deployment may be. */
const most = (...path: readonly (string | number)[]): number =>
  nodeAt(['applications', 0, 'deployments', 0, ...path])?.maximum ?? Number.MAX_SAFE_INTEGER;

const MAX_REPLICAS = most('num_replicas');
const MAX_ROWS = most('batching', 'max_batch_size');
const MAX_MICROSECONDS = most('batching', 'batch_wait_timeout_s') * 1e6;
const MAX_QUEUED = most('max_queued_requests');
const MAX_RUNS = most('model', 'warmup', 0, 'count');
const MAX_THREADS = most('model', 'session', 'intra_op_num_threads');
const KINDS = ['KIND_AUTO', 'KIND_CPU', 'KIND_GPU', 'KIND_MODEL'];
const OF_THE_FILE = 'the model file says it';
/** Each is run by every replica before it serves. */
const MAX_SAMPLES = 100;
/** As protobuf's text format writes them. */
const TRUE = ['true', 'True', 't', '1'];
const FALSE = ['false', 'False', 'f', '0'];
/** What is told of one file; a first error always is. */
const MAX_FINDINGS = 50;

interface Sample {
  readonly count: number;
  /** Its extent of the batch, which stands apart from the others; 0: none is given. */
  readonly rows: number;
  readonly inputs: readonly { readonly name: string; readonly shape: readonly number[]; readonly fill: string }[];
}

class Reader {
  readonly #name: string;
  readonly #findings: Finding[] = [];
  readonly #fields = mapping();
  readonly #model = mapping();
  readonly #session = mapping();
  readonly #samples: Sample[] = [];
  #maxBatch: number | undefined;
  #dynamic: { readonly at: number; waitS?: number } | undefined;
  #instances = 0;

  constructor(name: string) {
    this.#name = name;
  }

  read(message: PbMessage): TritonConfig {
    this.#section(message, [], this.#top);
    const batching = this.#batching();
    if (batching !== undefined) this.#fields.batching = batching;
    if (this.#instances > 0) this.#fields.num_replicas = this.#instances;
    if (Object.keys(this.#session).length > 0) this.#model.session = this.#session;
    if (this.#samples.length > 0) this.#model.warmup = this.#samples.map((sample) => this.#warmup(sample));
    if (Object.keys(this.#model).length > 0) this.#fields.model = this.#model;
    return { fields: this.#fields, findings: this.#findings };
  }

  readonly #top: Fields = {
    name: this.#text((given, at, path) => {
      if (given === '' || given === this.#name) return;
      const message = `expected the name of its folder, ${quote(this.#name)}, or none, got ${quote(given)}; rename one of the two`;
      this.#report('error', 'BAD_VALUE', path, message, at);
    }),
    platform: this.#text((given, at, path) => this.#runtime(given, 'onnxruntime_onnx', at, path)),
    backend: this.#text((given, at, path) => this.#runtime(given, 'onnxruntime', at, path)),
    max_batch_size: this.#integer(0, MAX_ROWS, (size) => {
      this.#maxBatch = size;
    }),
    input: this.#port(),
    output: this.#port(),
    dynamic_batching: {
      take: (value, path) => {
        const dynamic: { readonly at: number; waitS?: number } = { at: value.at };
        this.#dynamic = dynamic;
        this.#take(value, path, {
          max_queue_delay_microseconds: this.#integer(0, MAX_MICROSECONDS, (micros) => {
            dynamic.waitS = micros / 1e6;
          }),
          preferred_batch_size: { many: true, ...this.#left('how many are worth a batch is learned') },
          default_queue_policy: this.#sub({
            max_queue_size: this.#integer(0, MAX_QUEUED, (size) => {
              this.#fields.max_queued_requests = size === 0 ? -1 : size;
            }),
            default_timeout_microseconds: this.#leftUnless(
              ['0'],
              'say `request_timeout_s`, which is the deadline of a whole call',
            ),
            timeout_action: this.#leftUnless(['REJECT', '0'], 'requests beyond their deadline are refused'),
            allow_timeout_override: this.#leftUnless(FALSE, 'clients say a deadline with `x-request-timeout-seconds`'),
          }),
          preserve_ordering: this.#leftUnless(FALSE, 'answers come as soon as they are there'),
          priority_levels: this.#leftUnless(['0'], 'requests name their priority themselves'),
          default_priority_level: this.#leftUnless(['0'], 'requests name their priority themselves'),
          priority_queue_policy: { many: true, ...this.#left('one queue has one policy') },
        });
      },
    },
    instance_group: {
      many: true,
      take: (value, path) => {
        let count = 1;
        this.#take(value, path, {
          count: this.#integer(0, MAX_REPLICAS, (given) => {
            count = Math.max(1, given);
          }),
          kind: this.#kind(),
          name: SILENT,
          gpus: { many: true, ...this.#left('say `ray_actor_options.num_gpus` in the config file') },
          ...this.#all(['rate_limiter', 'passive', 'profile', 'secondary_devices', 'host_policy']),
        });
        this.#instances += count;
        if (this.#instances > MAX_REPLICAS)
          this.#report(
            'error',
            'OUT_OF_RANGE',
            path,
            `expected at most ${MAX_REPLICAS} instances in all, got ${this.#instances}`,
            value.at,
          );
      },
    },
    version_policy: {
      take: (value, path) => {
        const given: string[] = [];
        const policy = (name: string, take: (inner: PbValue, at: Path) => unknown): Known => ({
          take: (inner, at) => {
            given.push(name);
            this.#model.version_policy = take(inner, at);
          },
        });
        this.#take(value, path, {
          all: policy('all', () => 'all'),
          latest: policy('latest', (inner, at) => {
            let latest = 1;
            this.#take(inner, at, {
              num_versions: this.#integer(1, Number.MAX_SAFE_INTEGER, (count) => {
                latest = count;
              }),
            });
            return { latest };
          }),
          specific: policy('specific', (inner, at) => {
            const versions: number[] = [];
            this.#take(inner, at, {
              versions: { many: true, ...this.#integer(1, Number.MAX_SAFE_INTEGER, (version) => void versions.push(version)) },
            });
            if (versions.length === 0)
              this.#report('error', 'BAD_VALUE', at, 'expected at least one of `versions`, got none', inner.at);
            return { specific: versions };
          }),
        });
        if (given.length > 1)
          this.#report('error', 'EXCLUSIVE_KEYS', path, `expected one policy, got ${given.join(' and ')}; keep one`, value.at);
      },
    },
    model_warmup: { many: true, take: (value, path) => this.#sample(value, path) },
    parameters: { many: true, take: (value, path) => this.#parameter(value, path) },
    default_model_filename: this.#leftUnless(['', 'model.onnx'], 'the one .onnx of a version is taken, whatever its name'),
    model_transaction_policy: this.#sub({ decoupled: this.#leftUnless(FALSE, 'a request has one answer') }),
    response_cache: this.#sub({
      enable: this.#flag((given) => {
        if (given) this.#fields.response_cache = mapping();
      }),
    }),
    sequence_batching: this.#left('say `model.sequence` in the config file'),
    ensemble_scheduling: this.#left('wire deployments with `graph` in the config file'),
    optimization: this.#left('say `model.session` and `model.execution_providers` in the config file'),
    ...this.#all(['metric_tags', 'cc_model_filenames', 'batch_input', 'batch_output', 'model_operations', 'runtime']),
    ...this.#all(['model_repository_agents', 'model_metrics']),
  };

  /** Named for what they are. A batch size of 0 says that requests are not put together. */
  #batching(): Mapping | null | undefined {
    if (this.#maxBatch === 0) {
      if (this.#dynamic !== undefined) {
        const message = '`dynamic_batching` has no effect with `max_batch_size: 0`; give it a size, or take the block away';
        this.#report('warning', 'NO_EFFECT', ['dynamic_batching'], message, this.#dynamic.at);
      }
      return null;
    }
    if (this.#maxBatch === undefined && this.#dynamic === undefined) return undefined;
    const batching = mapping();
    if (this.#maxBatch !== undefined) batching.max_batch_size = this.#maxBatch;
    if (this.#dynamic?.waitS !== undefined) batching.batch_wait_timeout_s = this.#dynamic.waitS;
    return batching;
  }

  #runtime(given: string, served: string, at: number, path: Path): void {
    if (given === '' || given === served) return;
    const message = `expected \`${served}\`, got ${quote(given)}; only ONNX models are served from a folder of models`;
    this.#report('error', 'NOT_SERVED', path, message, at);
  }

  #kind(): Known {
    return this.#word((given, at, path) => {
      if (!KINDS.includes(given))
        this.#report('error', 'BAD_VALUE', path, `expected one of ${KINDS.join(', ')}, got ${quote(given)}`, at);
      else if (given === 'KIND_GPU')
        this.#notTaken(path, 'say `model.execution_providers: [cuda]` and `ray_actor_options.num_gpus` in the config file', at);
    });
  }

  /** What only repeats the model's file is not compared with it: the file is what runs. */
  #port(): Known {
    return {
      many: true,
      ...this.#sub({
        name: SILENT,
        data_type: SILENT,
        format: this.#leftUnless(['FORMAT_NONE', '0'], OF_THE_FILE),
        dims: { many: true, ...SILENT },
        optional: this.#leftUnless(FALSE, OF_THE_FILE),
        allow_ragged_batch: this.#leftUnless(FALSE, 'say `batching.pad` in the config file'),
        ...this.#all(['reshape', 'is_shape_tensor', 'label_filename', 'is_non_linear_format_io']),
      }),
    };
  }

  #sample(value: PbValue, path: Path): void {
    let [count, rows, usable] = [1, 0, true];
    const inputs: Sample['inputs'][number][] = [];
    this.#take(value, path, {
      name: SILENT,
      count: this.#integer(0, MAX_RUNS, (given) => {
        count = Math.max(1, given);
      }),
      batch_size: this.#integer(0, MAX_ROWS, (given) => {
        rows = given;
      }),
      inputs: {
        many: true,
        take: (entry, at) => {
          let [name, fill] = ['', 'zero'];
          const shape: number[] = [];
          this.#take(entry, at, {
            key: this.#text((given) => {
              name = given;
            }),
            value: this.#sub({
              data_type: SILENT,
              dims: { many: true, ...this.#integer(0, Number.MAX_SAFE_INTEGER, (extent) => void shape.push(extent)) },
              zero_data: SILENT,
              random_data: this.#flag((given) => {
                if (given) fill = 'random';
              }),
              input_data_file: {
                take: (inner, where) => {
                  usable = false;
                  this.#notTaken(where, 'a warm-up is of zeros or of random numbers; this sample is left out', inner.at);
                },
              },
            }),
          });
          inputs.push({ name, shape, fill });
        },
      },
    });
    if (usable) this.#samples.push({ count, rows, inputs });
    if (this.#samples.length === MAX_SAMPLES + 1)
      this.#report('error', 'OUT_OF_RANGE', path, `expected at most ${MAX_SAMPLES} warm-ups, got more`, value.at);
  }

  #warmup({ count, rows, inputs }: Sample): Mapping {
    const batched = (this.#maxBatch ?? rows) > 0;
    const given = mapping();
    for (const { name, shape, fill } of inputs) given[name] = { shape: batched ? [Math.max(1, rows), ...shape] : shape, fill };
    return Object.assign(mapping(), { inputs: given, count });
  }

  /** Parameters of Triton's ONNX backend. */
  #parameter(value: PbValue, path: Path): void {
    let [key, text] = ['', ''];
    this.#take(value, path, {
      key: this.#text((given) => {
        key = given;
      }),
      value: this.#sub({
        string_value: this.#text((given) => {
          text = given;
        }),
      }),
    });
    const entry = Object.hasOwn(PARAMETERS, key) ? PARAMETERS[key] : undefined;
    const read = entry?.values(text);
    if (entry === undefined) this.#notTaken([...path, key], 'there is nothing like it here', value.at);
    else if (read === undefined) {
      const message = `expected ${entry.expects}, got ${quote(text)}`;
      this.#report('error', 'BAD_VALUE', [...path, key], message, value.at);
    } else if (read !== null) this.#session[entry.field] = read;
  }

  // Kinds of fields.

  #section(message: PbMessage, path: Path, fields: Fields): void {
    const seen = new Set<string>();
    for (const { name, at, value } of message.fields) {
      const known = Object.hasOwn(fields, name) ? fields[name] : undefined;
      const where = [...path, name];
      if (known === undefined) {
        const near = this.#isFull ? undefined : nearest(name.slice(0, MAX_NAME), Object.keys(fields));
        const hint = near === undefined ? '' : `; did you mean \`${near}\`?`;
        this.#report(
          'warning',
          'UNKNOWN_KEY',
          where,
          `${quote(name)} is no field that is known here, and is left out${hint}`,
          at,
        );
      } else if (seen.has(name) && known.many === undefined)
        this.#report('error', 'DUPLICATE_KEY', where, `expected \`${name}\` once, got it twice; keep one`, at);
      else known.take(value, where);
      seen.add(name);
    }
  }

  #take(value: PbValue, path: Path, fields: Fields): void {
    if (value.kind === 'message') this.#section(value, path, fields);
    else this.#wrongType('a message, in `{ }`', value, path);
  }

  #sub(fields: Fields): Known {
    return { take: (value, path) => this.#take(value, path, fields) };
  }

  #integer(least: number, most: number, take: (value: number) => void): Known {
    return {
      take: (value, path) => {
        const read = value.kind === 'word' && INTEGER.test(value.text) ? numberOf(value.text) : undefined;
        if (read === undefined) this.#wrongType('an integer', value, path);
        else if (read < least || read > most) {
          const range = read < least ? `≥ ${least}` : `≤ ${most}`;
          this.#report('error', 'OUT_OF_RANGE', path, `expected an integer ${range}, got ${quote(shown(value))}`, value.at);
        } else take(read);
      },
    };
  }

  #text(take: (value: string, at: number, path: Path) => void): Known {
    return {
      take: (value, path) => {
        if (value.kind === 'text') take(value.text, value.at, path);
        else this.#wrongType('text, in quotes', value, path);
      },
    };
  }

  #word(take: (value: string, at: number, path: Path) => void): Known {
    return {
      take: (value, path) => {
        if (value.kind === 'word') take(value.text, value.at, path);
        else this.#wrongType('a name', value, path);
      },
    };
  }

  #flag(take: (value: boolean) => void): Known {
    return {
      take: (value, path) => {
        const isTrue = value.kind === 'word' && TRUE.includes(value.text);
        if (isTrue || (value.kind === 'word' && FALSE.includes(value.text))) take(isTrue);
        else this.#wrongType('`true` or `false`', value, path);
      },
    };
  }

  #left(why: string): Known {
    return { take: (value, path) => this.#notTaken(path, why, value.at) };
  }

  /** What it says where it changes nothing is no loss. */
  #leftUnless(harmless: readonly string[], why: string): Known {
    return {
      take: (value, path) => {
        if (value.kind === 'message' || !harmless.includes(value.text)) this.#notTaken(path, why, value.at);
      },
    };
  }

  #all(names: readonly string[]): Fields {
    return Object.fromEntries(names.map((name) => [name, { many: true, ...this.#left('there is nothing like it here') }]));
  }

  /** Of a list once, not for each of its elements. */
  #notTaken(path: Path, why: string, at: number): void {
    const field = path.join('.');
    if (this.#findings.some((each) => each.code === 'NOT_TAKEN_OVER' && each.path.join('.') === field)) return;
    this.#report('warning', 'NOT_TAKEN_OVER', path, `\`${path.at(-1)}\` of a config.pbtxt is not taken over: ${why}`, at);
  }

  #wrongType(expected: string, value: PbValue, path: Path): void {
    this.#report('error', 'WRONG_TYPE', path, `expected ${expected}, got ${quote(shown(value))}`, value.at);
  }

  #report(severity: Finding['severity'], code: string, path: Path, message: string, offset: number): void {
    const isFirst = severity === 'error' && !this.#findings.some((each) => each.severity === 'error');
    if (!this.#isFull || isFirst) this.#findings.push({ severity, code, path, message, offset });
  }

  get #isFull(): boolean {
    return this.#findings.length >= MAX_FINDINGS;
  }
}

const MAX_NAME = 80;

const SILENT: Known = { take: () => {} };

const shown = (value: PbValue): string => (value.kind === 'message' ? '{ }' : value.text);

/** As C writes them: 0 in front says octal. */
const INTEGER = /^-?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)$/;

const numberOf = (text: string): number => {
  if (text.startsWith('-')) return -numberOf(text.slice(1));
  return /^0\d/.test(text) ? Number.parseInt(text, 8) : Number(text);
};

interface Parameter {
  readonly field: string;
  readonly expects: string;
  /** null: it says what is so anyway; undefined: it is none that is expected. */
  readonly values: (text: string) => unknown;
}

const threads = (field: string): Parameter => ({
  field,
  expects: `a number of threads from 0 to ${MAX_THREADS}, in quotes`,
  values: (text) => (!/^\d{1,9}$/.test(text) || Number(text) > MAX_THREADS ? undefined : Number(text) || null),
});

const choice = (field: string, values: Readonly<Record<string, unknown>>): Parameter => ({
  field,
  expects: Object.keys(values)
    .map((each) => `"${each}"`)
    .join(' or '),
  values: (text) => (Object.hasOwn(values, text) ? values[text] : undefined),
});

/** By name: the option of `model.session` that it is. */
const PARAMETERS: Readonly<Record<string, Parameter>> = {
  intra_op_thread_count: threads('intra_op_num_threads'),
  inter_op_thread_count: threads('inter_op_num_threads'),
  execution_mode: choice('execution_mode', { '0': 'sequential', '1': 'parallel' }),
  enable_mem_arena: choice('enable_cpu_mem_arena', { '0': false, '1': true }),
  enable_mem_pattern: choice('enable_mem_pattern', { '0': false, '1': true }),
};
