/** The `graph` section as it stands in the file, and what can be said about it. */

/** The section as it stands in the file; its shape was checked before. */
export interface GraphSource {
  ingress?: string;
  /** Caller → name of the handle → whom it calls. */
  calls?: Record<string, Record<string, string>>;
  steps?: Record<string, StepSource>;
  output?: unknown;
}

/** One condition, or a list of which all must hold. */
export type ConditionSource = SingleCondition | readonly SingleCondition[];
type SingleCondition =
  | { ref: string; equals?: unknown; in?: readonly unknown[]; exists?: boolean; gt?: number; lt?: number }
  | { not: ConditionSource };

export interface StepSource {
  /** Either this or `split`. */
  call?: string;
  split?: SplitSource;
  shadow?: { call: string; tolerance?: number };
  when?: ConditionSource | null;
  retry?: { max_attempts?: number; backoff_s?: number } | null;
  input?: unknown;
  for_each?: unknown;
  timeout_s?: number;
  on_error?: 'fail' | { value: unknown };
  max_concurrency?: number;
  model?: string;
}

export interface SplitSource {
  targets: readonly { call: string; weight: number }[];
  sticky_by?: string;
  verdict?: VerdictSource | null;
}

export interface VerdictSource {
  steps?: readonly number[];
  window_s?: number;
  min_requests?: number;
  promote_when?: {
    error_rate_below?: number;
    p99_below_s?: number;
    p99_ratio_below?: number;
    difference_below?: number;
  } | null;
  abort_when?: {
    error_rate_above?: number;
    p99_above_s?: number;
    p99_ratio_above?: number;
    difference_above?: number;
  } | null;
}

export interface KnownApplication {
  name: string;
  deployments: readonly string[];
  /** Its deployments are models found in a folder, and come and go with it. */
  isFolder?: boolean;
  /** Its own graph section, so that a deployment that only another application uses is not called unused. */
  graph?: GraphSource | undefined;
}

/** A mistake, with the path inside the graph section (`['steps','read','input','x']`), so that config can give it a position. */
export interface GraphMistake {
  severity: 'error' | 'warning';
  code: string;
  path: Path;
  message: string;
  /** The deployment that the mistake is about, where it is about one rather than about a place in the section. */
  deployment?: string;
}

/** Where something stands inside the graph section. */
export type Path = readonly (string | number)[];

/** Takes down a mistake; compiling goes on, so that all are found at once. */
export type Report = (code: string, path: Path, message: string, severity?: 'error' | 'warning') => void;
