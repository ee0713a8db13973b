/** Reads the text of a config: YAML 1.2 into plain data, with the place in the text of every key and value. */
import { Composer, type CST, isMap, isScalar, isSeq, Parser, type YAMLError } from 'yaml';
import { BoundedTokens } from './bounds.ts';
import type { Environment } from './environment.ts';
import type { Finding, Mapping } from './finding.ts';
import type { Places } from './places.ts';
import { Overflow, Reader, startOf } from './reader.ts';
import { Openings, syntaxText } from './syntax.ts';

export interface Parsed {
  /** The root mapping; undefined where a finding says that there is none, or the text cannot be read. */
  readonly data: Mapping | undefined;
  readonly places: Places;
  readonly findings: readonly Finding[];
}

/** One slip of syntax brings others in its train, on its own line and on thousands of others. */
const MAX_SYNTAX_ERRORS = 20;

export const parse = (text: string, environment: Environment): Parsed => {
  const findings: Finding[] = [];
  const reader = new Reader(environment, findings);
  const report = (code: string, message: string, offset: number) =>
    findings.push({ severity: 'error', code, path: [], message, offset });
  const refused = { data: undefined, places: reader.places, findings };

  const tokens = new BoundedTokens();
  const parser = new Parser();
  const openings = new Openings();
  const composer = new Composer({
    version: '1.2',
    schema: 'core',
    // Quadratic in the keys of a mapping; the reader does it in one pass.
    uniqueKeys: false,
    prettyErrors: false,
  });
  // All of it before any is composed: what is out of bounds may stand at the end.
  const trees: CST.Token[] = [];
  for (const token of tokens.of(text)) {
    openings.see(token, parser.offset);
    trees.push(...parser.next(token));
  }
  if (tokens.finding !== undefined) {
    findings.push(tokens.finding);
    return refused;
  }
  trees.push(...parser.end());
  const [document, second] = [...composer.compose(trees)];
  const { errors = [], warnings = [] } = document ?? composer.streamInfo();
  for (const problem of firstOfEachLine([...errors, ...warnings], text)) {
    report('YAML_SYNTAX', syntaxText(problem, text), openings.placeOf(problem));
  }
  if (findings.length > 0) return refused;
  if (document?.directives.yaml.explicit && document.directives.yaml.version !== '1.2') {
    report('YAML_VERSION', `expected %YAML 1.2, got %YAML ${document.directives.yaml.version}; remove the line`, 0);
  }
  if (second !== undefined) report('SEVERAL_DOCUMENTS', 'expected one YAML document, got a second one here', second.range[0]);
  const root = document?.contents ?? undefined;
  if (document === undefined || root === undefined || (isScalar(root) && root.value === null)) {
    report('EMPTY_FILE', 'expected at least `applications: []`, got an empty file', 0);
    return refused;
  }
  if (!isMap(root)) {
    report(
      'NOT_A_MAPPING',
      `expected a mapping with \`applications\`, got ${isSeq(root) ? 'a list' : 'a single value'}`,
      startOf(root) ?? 0,
    );
    return refused;
  }
  try {
    const data = reader.read(root, [], 0) as Mapping;
    reader.places.root(data, startOf(root) ?? 0);
    return { data, places: reader.places, findings };
  } catch (error) {
    if (!(error instanceof Overflow)) throw error;
    findings.push(error.finding);
    return refused;
  }
};

const firstOfEachLine = (problems: readonly YAMLError[], text: string): readonly YAMLError[] => {
  const kept: YAMLError[] = [];
  let upTo = -1;
  for (const problem of [...problems].sort((a, b) => a.pos[0] - b.pos[0])) {
    if (problem.pos[0] <= upTo || kept.length === MAX_SYNTAX_ERRORS) continue;
    // The parser has lost its way, and says so at every line that follows.
    if (kept.length > 0 && /in YAML (stream|document)|at node end/.test(problem.message)) continue;
    kept.push(problem);
    const end = text.indexOf('\n', problem.pos[0]);
    upTo = end === -1 ? text.length : end;
  }
  return kept;
};
