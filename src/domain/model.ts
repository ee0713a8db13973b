/** What a replica tells of the model that it serves. Pure. */

/** The name of a version's folder. */
export const VERSION_FOLDER = /^[1-9]\d{0,14}$/;

export interface ModelPort {
  readonly name: string;
  readonly dtype: string;
  /** -1: any extent; null: any number of extents. */
  readonly shape: readonly number[] | null;
}

export interface ModelPorts {
  readonly inputs: readonly ModelPort[];
  readonly outputs: readonly ModelPort[];
  /** What it keeps of a sequence: inputs and outputs beside those. Absent: nothing. */
  readonly states?: readonly ModelState[] | undefined;
}

/** An input, and the output that is its next value. */
export interface ModelState extends ModelPort {
  readonly output: string;
}

export interface ModelVersion extends ModelPorts {
  readonly version: string;
  /** The execution provider that it really runs on; undefined: the replica does not tell. */
  readonly provider?: string | undefined;
  /** Providers that the config wants rather, and why they do not work. */
  readonly instead?: readonly string[] | undefined;
}

export interface ModelDescription {
  /** The oldest first, at least one. */
  readonly versions: readonly ModelVersion[];
}

/** Of what a replica says of itself when it is ready, which may be anything. */
export const modelOf = (describes: unknown): ModelDescription | undefined => {
  if (!isRecord(describes) || !isListOf(describes['versions'], isVersion) || describes['versions'].length === 0) return undefined;
  return {
    versions: describes['versions'].map(({ version, inputs, outputs, states, provider, instead }) => ({
      version,
      inputs,
      outputs,
      ...(isListOf(states, isState) ? { states } : {}),
      ...(typeof provider === 'string' ? { provider } : {}),
      ...(isListOf(instead, isText) && instead.length > 0 ? { instead } : {}),
    })),
  };
};

const isText = (value: unknown): value is string => typeof value === 'string';

const isVersion = (value: unknown): value is ModelVersion =>
  isRecord(value) &&
  typeof value['version'] === 'string' &&
  isListOf(value['inputs'], isPort) &&
  isListOf(value['outputs'], isPort);

const isState = (value: unknown): value is ModelState => isPort(value) && typeof (value as ModelState).output === 'string';

const isPort = (value: unknown): value is ModelPort =>
  isRecord(value) &&
  typeof value['name'] === 'string' &&
  typeof value['dtype'] === 'string' &&
  (value['shape'] === null || isListOf(value['shape'], (extent): extent is number => Number.isSafeInteger(extent)));

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isListOf = <T>(value: unknown, is: (item: unknown) => item is T): value is readonly T[] =>
  Array.isArray(value) && value.every(is);
