/** Reads the text of a config: YAML 1.2 into plain data, with the place in the text of every key and value. */
import { Composer, type CST, isMap, isScalar, isSeq, Parser } from 'yaml';
import { BoundedTokens } from './bounds.ts';
import type { Environment } from './environment.ts';
import { type Finding, type Mapping, quote } from './finding.ts';
import type { Places } from './places.ts';
import { Overflow, Reader, startOf } from './reader.ts';

export interface Parsed {
  /** The root mapping; undefined where a finding says that there is none, or the text cannot be read. */
  readonly data: Mapping | undefined;
  readonly places: Places;
  readonly findings: readonly Finding[];
}

/** One slip of syntax brings thousands in its train, of which the first few say all. */
const MAX_SYNTAX_ERRORS = 20;

export const parse = (text: string, environment: Environment): Parsed => {
  const findings: Finding[] = [];
  const reader = new Reader(environment, findings);
  const report = (code: string, message: string, offset: number) =>
    findings.push({ severity: 'error', code, path: [], message, offset });
  const refused = { data: undefined, places: reader.places, findings };

  const tokens = new BoundedTokens();
  const parser = new Parser();
  const composer = new Composer({
    version: '1.2',
    schema: 'core',
    // Quadratic in the keys of a mapping; the reader does it in one pass.
    uniqueKeys: false,
    prettyErrors: false,
  });
  // All of it before any is composed: what is out of bounds may stand at the end.
  const trees: CST.Token[] = [];
  for (const token of tokens.of(text)) trees.push(...parser.next(token));
  if (tokens.finding !== undefined) {
    findings.push(tokens.finding);
    return refused;
  }
  trees.push(...parser.end());
  const [document, second] = [...composer.compose(trees)];
  const { errors = [], warnings = [] } = document ?? composer.streamInfo();
  for (const problem of [...errors, ...warnings].slice(0, MAX_SYNTAX_ERRORS)) {
    report('YAML_SYNTAX', `${quote(problem.message).slice(1, -1)}${hintFor(text, problem.pos[0])}`, problem.pos[0]);
  }
  if (findings.length > 0) return refused;
  if (document?.directives.yaml.explicit && document.directives.yaml.version !== '1.2') {
    report('YAML_VERSION', `the file is read as YAML 1.2, and says %YAML ${document.directives.yaml.version}`, 0);
  }
  if (second !== undefined) report('SEVERAL_DOCUMENTS', 'expected one YAML document, got a second one here', second.range[0]);
  const root = document?.contents ?? undefined;
  if (document === undefined || root === undefined || (isScalar(root) && root.value === null)) {
    report('EMPTY_FILE', 'the file is empty; it needs at least `applications: []`', 0);
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

/** `{port: ${PORT}}` is a syntax error that names neither the variable nor the way out. */
const hintFor = (text: string, offset: number): string => {
  const line = text.slice(Math.max(0, offset - 200), offset + 1).replace(/^[\s\S]*\n/, '');
  const inFlow = /[[{,:]\s*\$\{[^"'}]*[}\s]*$/.test(line) && /[[{].*\$\{/.test(line);
  return inFlow ? ` (inside \`[…]\` and \`{…}\` a \`\${NAME}\` needs quotes)` : '';
};
