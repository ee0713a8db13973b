/** Good graphs with one thing broken in each, and what must be said of it on which line: known from the edit, not from what is said. */

export interface BrokenGraph {
  readonly title: string;
  /** A whole config. */
  readonly text: string;
  readonly code: string;
  readonly severity: 'error' | 'warning';
  /** Of the text, from 1. */
  readonly line: number;
  /** What else is wrong because of it, wherever that is told. */
  readonly also: readonly string[];
}

const HEAD = `applications:
- name: other
  route_prefix: null
  deployments:
  - {name: Far, import_path: ./a.ts}
- name: app
  deployments:
  - {name: Alpha, import_path: ./a.ts}
  - {name: Beta, import_path: ./a.ts}
  - {name: Gamma, import_path: ./a.ts, multiplexing: {}}
  graph:
`;

export const GOOD_GRAPHS: readonly string[] = [
  `    steps:
      first:
        call: Alpha
        input: $request.json
      each:
        call: Beta.read
        for_each: $first.list
        input: $item.text
        max_concurrency: 4
        when:
          ref: $item.ok
          equals: true
        on_error:
          value: none
      joined:
        call: Gamma
        input: $each
        timeout_s: 0.5
        retry:
          max_attempts: 3
          backoff_s: 0.1
    output: $joined
`,
  `    steps:
      chosen:
        split:
          targets:
          - call: Alpha
            weight: 90
          - call: Beta.next
            weight: 10
          sticky_by: $request.headers.x-user
        input: $request.body
        shadow:
          call: Gamma
          tolerance: 0.01
      model:
        call: Gamma
        input: $chosen.a["b c"][0]
        model: $chosen.tenant
      far:
        call: other/Far.run
        input: $request.path
        when:
          not:
            ref: $chosen.kind
            in: [a, b]
    output:
      model: $model
      far: $far
      query: $request.query.q
`,
  `    calls:
      Beta:
        helper: other/Far
    steps:
      left:
        call: Alpha
        input: $request.json.left
      right:
        call: Beta
        input: $request.json.right
      both:
        call: Gamma.join
        input:
          parts: [$left, $right]
          deep:
            deeper: $left.a.b
        when:
        - ref: $left
          exists: true
        - ref: $right.score
          gt: 0.5
          `.trimEnd(),
].map((graph) => `${HEAD}${graph.trimEnd()}\n`);

interface Line {
  readonly index: number;
  readonly indent: number;
  /** From `graph` on: `steps.first.call`. */
  readonly path: string;
  readonly key: string;
  readonly value: string;
}

/** Every line with a key in the graph of a text, in which each key stands on a line of its own. */
const linesOf = (text: string): readonly Line[] => {
  const trail: { indent: number; key: string }[] = [];
  const counts = new Map<string, number>();
  return text.split('\n').flatMap((line, index): Line[] => {
    if (index < HEAD.split('\n').length - 1) return [];
    const found = /^( *)(- )?([\w]+):(?: (.*))?$/.exec(line);
    if (found === null) return [];
    const [, spaces = '', dash, key = '', value = ''] = found;
    const indent = spaces.length + (dash?.length ?? 0);
    while ((trail.at(-1)?.indent ?? -1) >= (dash === undefined ? indent : spaces.length + 1)) trail.pop();
    if (dash !== undefined) {
      const list = trail.map((each) => each.key).join('.');
      const item = counts.get(list) ?? 0;
      counts.set(list, item + 1);
      trail.push({ indent: spaces.length + 1, key: String(item) });
    }
    trail.push({ indent, key });
    return [{ index, indent, path: trail.map((each) => each.key).join('.'), key, value }];
  });
};

type Edit = Pick<BrokenGraph, 'title' | 'code'> & {
  readonly lines: readonly string[];
  /** From 0. */
  readonly at: number;
} & Partial<Pick<BrokenGraph, 'severity' | 'also'>>;

/** Every edit of one good graph. */
const editsOf = (text: string): readonly Edit[] => {
  const all = text.split('\n');
  const lines = linesOf(text);
  const edits: Edit[] = [];
  const at = (path: string) => lines.find((line) => line.path === path)?.index ?? -1;
  const stepOf = ({ path }: Line) => path.split('.').slice(0, 2).join('.');
  const hasForEach = (line: Line) => at(`${stepOf(line)}.for_each`) >= 0;
  const say = (line: Line, value: string) =>
    all.map((each, index) => (index === line.index ? each.replace(/^(.*?: ).*$/, `$1${value}`) : each));
  const add = (title: string, changed: readonly string[], code: string, place: number, more: Partial<Edit> = {}) =>
    edits.push({ title, code, lines: changed, at: place, ...more });
  const without = (line: Line) => {
    const next = lines.find((each) => each.index > line.index && each.indent <= line.indent)?.index ?? all.length - 1;
    return all.filter((_, index) => index < line.index || index >= next);
  };
  const insert = (after: Line, added: string) => all.flatMap((each, index) => (index === after.index ? [each, added] : [each]));
  const pad = (line: Line, added: string) => `${' '.repeat(line.indent)}${added}`;
  const steps = lines.filter(({ path }) => /^steps\.\w+$/.test(path));

  for (const line of lines) {
    const { path, key, value } = line;
    const isStepField = /^steps\.\w+\.\w+$/.test(path);
    const put = (changed: string, code: string, more: Partial<Edit> = {}) =>
      add(`${path}: ${changed}`, say(line, changed), code, line.index, more);
    if (value.startsWith('$')) {
      const isCondition = key === 'ref' || key === 'sticky_by' || key === 'model';
      for (const reference of ['$nobody', '$nobody.x[0]', '$firts']) put(reference, 'UNKNOWN_STEP', { also: ['STEP_UNUSED'] });
      if (key !== 'ref' && key !== 'sticky_by') put('$', 'BAD_REFERENCE');
      for (const reference of ['$5', `${value}[-1]`, `${value}[`, `${value}.`, `"${value.replaceAll('"', '')} and more"`])
        put(reference, 'BAD_REFERENCE');
      for (const reference of [
        '$request',
        '$request.nothing',
        '$request.body.x',
        '$request.path[0]',
        '$request.query',
        '$request.headers',
      ])
        put(reference, 'BAD_REFERENCE');
      const knowsItem =
        path.startsWith('steps') && hasForEach(line) && key !== 'for_each' && key !== 'model' && key !== 'sticky_by';
      for (const reference of ['$item', '$item.x', '$index']) if (!knowsItem) put(reference, 'ITEM_OUTSIDE_FOR_EACH');
      if (isCondition && key !== 'model') put('a text', 'BAD_REFERENCE');
      if (path.startsWith('steps')) {
        const step = stepOf(line);
        const self = `$${step.slice('steps.'.length)}`;
        add(`${path}: ${self}, itself`, say(line, self), 'GRAPH_CYCLE', at(step) + 1);
      }
    }
    if (key === 'for_each') for (const list of ['text', '5', 'true']) put(list, 'BAD_FOR_EACH');
    if (key === 'for_each')
      for (const list of ['$request.body', '$request.path', '$request.headers.x']) put(list, 'BAD_FOR_EACH');
    if (key === 'call' && path.startsWith('steps')) {
      for (const call of ['Nobody', 'Alhpa', 'app/Nobody', 'other/Alpha']) put(call, 'UNKNOWN_DEPLOYMENT');
      for (const call of ['nobody/Far', 'ohter/Far.run']) put(call, 'UNKNOWN_APPLICATION');
      for (const call of ['Alpha.a.b', 'a/b/c', '"Alpha run"', 'Alpha.']) put(call, 'BAD_CALL');
      for (const call of ['5', '[Alpha]', '{a: b}', 'true']) put(call, 'WRONG_TYPE');
      if (isStepField) {
        const step = stepOf(line);
        add(`${path}: none`, without(line), 'CALL_NEEDED', at(step) + 1);
        add(
          `${path} and a split`,
          insert(line, pad(line, 'split: {targets: [{call: Alpha, weight: 1}]}')),
          'SPLIT_BESIDE_CALL',
          line.index + 1,
        );
      }
    }
    if (path.startsWith('calls') && value !== '') {
      put('Nobody', 'UNKNOWN_DEPLOYMENT');
      put('nobody/Far', 'UNKNOWN_APPLICATION');
      put('Alpha.run', 'BAD_CALL');
      add(`${path}: Beta`, say(line, 'Beta'), 'CALL_CYCLE', line.index - 1);
    }
    if (key === 'input' && isStepField && !hasForEach(line)) {
      const first = without(line);
      add(`${path}: none`, first, 'INPUT_NEEDED', at(stepOf(line)) + 1, { also: ['STEP_UNUSED', 'OUTPUT_NEEDED'] });
    }
    for (const [field, values] of [
      ['timeout_s', ['0', '-1']],
      ['max_concurrency', ['0', '-5', '1e9']],
      ['max_attempts', ['0', '101']],
      ['backoff_s', ['-0.1']],
      ['weight', ['-1', '1e7']],
      ['tolerance', ['-1']],
    ] as const) {
      if (key !== field) continue;
      for (const bad of values) put(bad, 'OUT_OF_RANGE');
      for (const bad of ['soon', '[1]', '{a: 1}']) put(bad, 'WRONG_TYPE');
    }
    if (key === 'max_concurrency') {
      const fan = lines.find((each) => each.path === `${stepOf(line)}.for_each`) as Line;
      const gone = without(fan).map((each) => each.replace('$item.text', '$first').replace('$item.ok', '$first'));
      add('max_concurrency without for_each', gone, 'NO_EFFECT', line.index - 1, { severity: 'warning' });
    }
    if (isStepField && value !== '')
      add(`${path}, and a key that nobody knows`, insert(line, pad(line, 'inptu: 1')), 'UNKNOWN_KEY', line.index + 1);
    if (isStepField && value !== '')
      add(`${path}, twice`, insert(line, pad(line, `${key}: ${value}`)), 'DUPLICATE_KEY', line.index + 1);
    if (key === 'ref') {
      const operator = lines.find((each) => each.index === line.index + 1) as Line;
      add(`${path} and no operator`, without(operator), 'BAD_CONDITION', line.index);
      add(`${path} and two operators`, insert(operator, pad(operator, 'lt: 5')), 'BAD_CONDITION', line.index);
      add(
        `${path} and an operator that nobody knows`,
        insert(operator, pad(operator, 'is: 5')),
        'UNKNOWN_KEY',
        operator.index + 1,
      );
    }
    if (path.endsWith('on_error.value')) for (const bad of ['$first', '{a: [$first]}', '$5']) put(bad, 'BAD_REFERENCE');
    if (key === 'equals' || key === 'exists' || key === 'gt') {
      if (key === 'equals') put('[$first]', 'BAD_REFERENCE');
      else put('[1]', 'WRONG_TYPE');
    }
  }

  for (const step of steps) {
    const name = step.key;
    const rename = (other: string) => all.map((each, index) => (index === step.index ? each.replace(name, other) : each));
    for (const other of ['request', 'item', 'index', 'constructor', '1st', 'a-b'])
      add(`a step by the name of ${other}`, rename(other), 'BAD_NAME', step.index, {
        also: ['UNKNOWN_STEP', 'STEP_UNUSED', 'DEPLOYMENT_UNUSED', 'OUTPUT_NEEDED', 'GRAPH_CYCLE'],
      });
    add(
      `a step that nobody uses, before ${name}`,
      all.flatMap((each, index) =>
        index === step.index ? ['      lone:', '        call: Alpha', '        input: 1', each] : [each],
      ),
      at('output') < 0 ? 'OUTPUT_NEEDED' : 'STEP_UNUSED',
      at('output') < 0 ? at('steps') + 1 : step.index + 1,
      { severity: at('output') < 0 ? 'error' : 'warning' },
    );
    // A list that is null is another mistake.
    for (const never of [
      '{ref: $request.path, exists: false}',
      '{ref: $request.body, equals: x}',
      '{ref: $request.headers.x, gt: 3}',
      '[{ref: $request.json.a, equals: 1}, {ref: $request.json.a, equals: 2}]',
      '{not: {ref: $request.body, exists: true}}',
      '[{ref: $request.json.a, gt: 3}, {ref: $request.json.a, lt: 2}]',
    ])
      if (at(`steps.${name}.when`) < 0 && !lines.some(({ key, value }) => key === 'for_each' && value.startsWith(`$${name}`)))
        add(`${name} when ${never}`, insert(step, `        when: ${never}`), 'STEP_UNREACHABLE', step.index + 1, {
          severity: 'warning',
        });
  }

  const graph = HEAD.split('\n').length - 2;
  const bare = (section: string) => [...all.slice(0, graph + 1), section, ''];
  const top = (added: string) => all.flatMap((each, index) => (index === graph ? [each, added] : [each]));
  add('an ingress beside steps', top('    ingress: Alpha'), 'INGRESS_BESIDE_STEPS', graph + 1);
  add('an ingress that is not there', top('    ingress: Nobody'), 'UNKNOWN_DEPLOYMENT', graph + 1, {
    also: ['INGRESS_BESIDE_STEPS'],
  });
  add('a key that nobody knows', top('    step: {}'), 'UNKNOWN_KEY', graph + 1);
  add('no steps', bare('    steps: {}'), 'STEPS_EMPTY', graph + 1);
  add('output alone', bare('    output: 1'), 'OUTPUT_WITHOUT_STEPS', graph + 1, { also: ['INGRESS_NEEDED'] });
  const list = steps.find(({ key }) => at(`steps.${key}.for_each`) >= 0);
  const taker = lines.find(({ path, value }) => list !== undefined && value === `$${list.key}` && path.startsWith('steps'));
  if (list !== undefined && taker !== undefined)
    add('a field of a list', say(taker, `$${list.key}.x`), 'UNKNOWN_FIELD', taker.index);
  return edits;
};

/** No two of them the same. */
export const brokenGraphs = (): readonly BrokenGraph[] => {
  const byText = new Map<string, BrokenGraph>();
  for (const [number, good] of GOOD_GRAPHS.entries()) {
    for (const { title, lines, code, at, severity = 'error', also = [] } of editsOf(good)) {
      const text = lines.join('\n');
      if (!byText.has(text)) byText.set(text, { title: `${number + 1}: ${title}`, text, code, severity, line: at + 1, also });
    }
  }
  return [...byText.values()];
};
