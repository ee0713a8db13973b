import t from 'tap';
import { compileGraph, findCycles, type GraphSource, type KnownApplication } from '../../src/graph/compile.ts';

const known = (name: string, ...deployments: string[]): KnownApplication => ({ name, deployments });
const vision = known('vision', 'Detector', 'Cropper', 'Recognizer', 'Language');
const texts = known('texts', 'Translator');

const compile = (source: GraphSource | undefined, application = vision, all = [vision, texts]) =>
  compileGraph(source, application, all);

/** The steps and output of a source that compiles. */
const graphOf = (source: GraphSource) => {
  const { ingress, mistakes } = compile(source);
  t.same(
    mistakes.filter((mistake) => mistake.severity === 'error'),
    [],
  );
  if (ingress?.kind !== 'graph') throw new Error('expected a graph');
  return ingress.graph;
};

const mistakesOf = (source: GraphSource | undefined, application = vision) =>
  compile(source, application).mistakes.map(({ severity, code, path, message }) => ({
    severity,
    code,
    path: path.join('.'),
    message,
  }));

t.test('a flow compiles to steps in an order in which each stands behind what it needs', async (t) => {
  const graph = graphOf({
    steps: {
      read: { call: 'Recognizer.read', for_each: '$crops.tensors', input: '$item', max_concurrency: 4 },
      crops: { call: 'Cropper', input: { image: '$request.body', boxes: ['$detect.boxes[0]', '$detect["any.name"]'] } },
      detect: { call: 'Detector', input: '$request.body' },
      lang: { call: 'texts/Translator.guess', input: '$read', timeout_s: 0.2, on_error: { value: ['$$5', null] } },
    },
    output: { text: '$read', language: '$lang' },
  });
  t.same(
    graph.steps.map((step) => [step.name, step.needs]),
    [
      ['detect', []],
      ['crops', ['detect']],
      ['read', ['crops']],
      ['lang', ['read']],
    ],
  );
  const [detect, crops, read, lang] = graph.steps;
  t.match(detect, { input: { kind: 'ref', root: 'request', path: ['body'] }, forEach: undefined, timeoutMs: undefined });
  t.match(crops?.input, {
    kind: 'object',
    entries: [
      ['image', { root: 'request', path: ['body'] }],
      ['boxes', { kind: 'list', items: [{ step: 'detect', path: ['boxes', 0] }, { path: ['any.name'] }] }],
    ],
  });
  t.match(read, {
    target: { application: 'vision', deployment: 'Recognizer', method: 'read' },
    input: { kind: 'ref', root: 'item', path: [] },
    forEach: { kind: 'ref', root: 'step', step: 'crops', path: ['tensors'] },
    maxConcurrency: 4,
    onError: undefined,
    model: undefined,
  });
  t.match(lang, {
    target: { application: 'texts', deployment: 'Translator', method: 'guess' },
    timeoutMs: 200,
    onError: { value: ['$5', null] },
  });
});

t.test('every kind of reference is read', async (t) => {
  const input = {
    json: '$request.json',
    deep: '$request.json.a[0]["b c"].d',
    query: '$request.query.page',
    header: '$request.headers.X-User',
    path: '$request.path',
    dotted: "$detect['onnx::out.0']",
    quoted: '$detect["a\\"b"]',
    dollar: '$detect.$key',
  };
  const graph = graphOf({ steps: { detect: { call: 'Detector', input: null }, next: { call: 'Cropper', input } } });
  const expression = graph.steps[1]?.input;
  if (expression?.kind !== 'object') throw new Error('expected an object');
  t.same(
    expression.entries.map(([key, value]) => [key, value.kind === 'ref' && value.path]),
    [
      ['json', ['json']],
      ['deep', ['json', 'a', 0, 'b c', 'd']],
      ['query', ['query', 'page']],
      ['header', ['headers', 'x-user']],
      ['path', ['path']],
      ['dotted', ['onnx::out.0']],
      ['quoted', ['a"b']],
      ['dollar', ['$key']],
    ],
  );
});

t.test('what holds no reference becomes one literal, with $$ at the start of a text for a dollar', async (t) => {
  const input = { price: '$$5', mail: 'a$b', nested: [{ ['__proto__']: 1, deep: '$$$x' }, true, null, 1.5] };
  const graph = graphOf({ steps: { detect: { call: 'Detector', input } } });
  t.same(graph.steps[0]?.input, {
    kind: 'literal',
    value: { price: '$5', mail: 'a$b', nested: [JSON.parse('{"__proto__": 1, "deep": "$$x"}'), true, null, 1.5] },
  });
});

t.test('output may be left out when exactly one step is used by no other', async (t) => {
  const graph = graphOf({
    steps: { detect: { call: 'Detector', input: 1 }, crops: { call: 'Cropper', input: '$detect' } },
  });
  t.same(graph.output, { kind: 'ref', root: 'step', step: 'crops', path: [] });
});

t.test('a step with for_each and no input gets the item', async (t) => {
  const graph = graphOf({ steps: { read: { call: 'Recognizer', for_each: '$request.json' } } });
  t.same(graph.steps[0]?.input, { kind: 'ref', root: 'item', path: [] });
});

t.test('every mistake in a flow is named, with its place', async (t) => {
  const detect = { call: 'Detector', input: '$request.json' };
  const step = (source: object) => ({ steps: { detect, crops: { call: 'Cropper', input: '$detect', ...source } } });
  const input = (value: unknown) => step({ input: { x: ['$detect', value] } });
  const at = 'steps.crops.input.x.1';
  const cases: [GraphSource, string, string, RegExp][] = [
    [input('$detct.boxes'), 'UNKNOWN_STEP', at, /no step `detct`; did you mean `detect`\?/],
    [input('$other'), 'UNKNOWN_STEP', at, /no step `other`; steps: `detect`, `crops`/],
    [input('$5'), 'BAD_REFERENCE', at, /written `\$\$5`/],
    [input('$'), 'BAD_REFERENCE', at, /not a reference/],
    [input('$detect and more'), 'BAD_REFERENCE', at, /at ` and more`/],
    [input('$detect[-1]'), 'BAD_REFERENCE', at, /at `\[-1\]`/],
    [input('$detect["a\\q"]'), 'BAD_REFERENCE', at, /expected/],
    [input('$request'), 'BAD_REFERENCE', at, /a request has `\$request.json`/],
    [input('$request.method'), 'BAD_REFERENCE', at, /a request has/],
    [input('$request.body.x'), 'BAD_REFERENCE', at, /fields of a JSON body are at `\$request.json`/],
    [input('$request.query'), 'BAD_REFERENCE', at, /expected one name, as in `\$request.query.page`/],
    [input('$item'), 'ITEM_OUTSIDE_FOR_EACH', at, /only in the input of a step with `for_each`/],
    [input('$index'), 'ITEM_OUTSIDE_FOR_EACH', at, /`\$index`/],
    [input(Number.NaN), 'NOT_JSON', at, /got NaN/],
    [step({ for_each: '$item' }), 'ITEM_OUTSIDE_FOR_EACH', 'steps.crops.for_each', /`\$item`/],
    [step({ for_each: 'detect' }), 'BAD_FOR_EACH', 'steps.crops.for_each', /a list, got "detect"/],
    [step({ for_each: '$detect', input: '$index.x' }), 'BAD_REFERENCE', 'steps.crops.input', /is a number/],
    [step({ input: undefined }), 'INPUT_NEEDED', 'steps.crops', /say what the step gets/],
    [step({ on_error: { value: '$detect' } }), 'BAD_REFERENCE', 'steps.crops.on_error.value', /not known here/],
    [step({ call: 'Croper' }), 'UNKNOWN_DEPLOYMENT', 'steps.crops.call', /in `vision`; did you mean `Cropper`\?/],
    [step({ call: 'Translator' }), 'UNKNOWN_DEPLOYMENT', 'steps.crops.call', /did you mean `texts\/Translator`\?/],
    [step({ call: 'text/Translator' }), 'UNKNOWN_APPLICATION', 'steps.crops.call', /did you mean `texts`\?/],
    [step({ call: 'texts/Cropper' }), 'UNKNOWN_DEPLOYMENT', 'steps.crops.call', /did you mean `vision\/Cropper`\?/],
    [step({ call: 'Cropper.a.b' }), 'BAD_CALL', 'steps.crops.call', /expected `Deployment`/],
    [{ steps: { request: detect } }, 'BAD_NAME', 'steps.request', /no name for a step/],
    [{ steps: {} }, 'STEPS_EMPTY', 'steps', /at least one step/],
    [{ steps: { detect }, output: '$item' }, 'ITEM_OUTSIDE_FOR_EACH', 'output', /`\$item`/],
    [{ steps: { detect, crops: detect } }, 'OUTPUT_NEEDED', 'steps', /\(`detect`, `crops`\)/],
    [{ steps: { detect }, ingress: 'Detector' }, 'INGRESS_BESIDE_STEPS', 'ingress', /exclude each other/],
    [{ ingress: 'Detector', output: 1 }, 'OUTPUT_WITHOUT_STEPS', 'output', /there are no `steps`/],
  ];
  for (const [source, code, path, message] of cases) {
    const { ingress, mistakes } = compile(source);
    t.equal(ingress, undefined, code);
    t.match(
      mistakes.map((mistake) => ({ ...mistake, path: mistake.path.join('.') })),
      [{ severity: 'error', code, path, message }],
    );
    t.equal(mistakes.length, 1, `${code} comes alone`);
  }
});

t.test('all mistakes are found at once', async (t) => {
  const found = mistakesOf({
    calls: { Nobody: { x: 'Cropper' } },
    steps: {
      a: { call: 'Detector', input: '$b' },
      b: { call: 'Unknown', input: ['$a', '$c'] },
      d: { call: 'Cropper' },
    },
  });
  t.same(found.map((mistake) => mistake.code).sort(), [
    'GRAPH_CYCLE',
    'INPUT_NEEDED',
    'UNKNOWN_DEPLOYMENT',
    'UNKNOWN_DEPLOYMENT',
    'UNKNOWN_STEP',
  ]);
});

t.test('steps that wait for each other are named in a circle', async (t) => {
  const found = mistakesOf({
    steps: {
      first: { call: 'Detector', input: 1 },
      a: { call: 'Detector', input: ['$first', '$b'] },
      b: { call: 'Cropper', for_each: '$c', input: '$item' },
      c: { call: 'Recognizer', input: '$a.x' },
    },
    output: 1,
  });
  t.match(found, [{ code: 'GRAPH_CYCLE', path: 'steps.a', message: /a → b → c → a/ }]);
  t.match(mistakesOf({ steps: { a: { call: 'Detector', input: '$a' } } }), [{ message: /a → a/ }]);
});

t.test('steps and deployments that nothing uses are warnings', async (t) => {
  const source: GraphSource = {
    calls: { Detector: { read: 'Recognizer' } },
    steps: {
      detect: { call: 'Detector', input: 1, max_concurrency: 2 },
      crops: { call: 'Cropper', input: '$detect' },
    },
    output: '$detect',
  };
  const { ingress, mistakes } = compile(source);
  t.match(ingress, { kind: 'graph' });
  t.match(mistakes, [
    { severity: 'warning', code: 'NO_EFFECT', path: ['steps', 'detect', 'max_concurrency'] },
    { severity: 'warning', code: 'STEP_UNUSED', path: ['steps', 'crops'] },
    { severity: 'warning', code: 'DEPLOYMENT_UNUSED', path: [], deployment: 'Language' },
  ]);
});

t.test('a deployment that another application uses is not unused', async (t) => {
  const shared = known('shared', 'Front', 'Stepped', 'Called', 'Idle');
  const caller: KnownApplication = {
    ...vision,
    graph: { steps: { a: { call: 'shared/Stepped.run' } }, calls: { Detector: { called: 'shared/Called' } } },
  };
  const { mistakes } = compile({ ingress: 'Front' }, shared, [shared, caller]);
  t.same(
    mistakes.map((mistake) => mistake.deployment),
    ['Idle'],
  );
});

t.test('the ingress is the one that is named, else the only deployment', async (t) => {
  t.same(compile(undefined, texts).ingress, { kind: 'deployment', deployment: 'Translator' });
  t.same(compile({ ingress: 'Cropper' }).ingress, { kind: 'deployment', deployment: 'Cropper' });
  t.match(mistakesOf(undefined), [{ code: 'INGRESS_NEEDED', path: '', message: /`Detector`, `Cropper`.*`graph.ingress`/ }]);
  t.match(mistakesOf({}, known('empty')), [{ code: 'INGRESS_NEEDED', message: /has no deployment/ }]);
  t.match(mistakesOf({ ingress: 'detector' }), [{ code: 'UNKNOWN_DEPLOYMENT', path: 'ingress', message: /mean `Detector`/ }]);
});

t.test('calls name who may call whom, across applications too', async (t) => {
  const { calls, mistakes } = compile({
    ingress: 'Detector',
    calls: { Detector: { crop: 'Cropper', say: 'texts/Translator' }, Cropper: { read: 'Recognizer', lang: 'Language' } },
  });
  t.same(mistakes, []);
  t.same(calls, {
    Detector: {
      crop: { application: 'vision', deployment: 'Cropper', method: 'call' },
      say: { application: 'texts', deployment: 'Translator', method: 'call' },
    },
    Cropper: {
      read: { application: 'vision', deployment: 'Recognizer', method: 'call' },
      lang: { application: 'vision', deployment: 'Language', method: 'call' },
    },
  });
  const wrong = { Detecter: { crop: 'Cropper' }, Detector: { x: 'Croper', y: 'Cropper.read' } };
  t.same(compile({ ingress: 'Detector', calls: wrong }).calls, { Detector: {} });
  t.match(mistakesOf({ ingress: 'Detector', calls: wrong }), [
    { code: 'UNKNOWN_DEPLOYMENT', path: 'calls.Detecter', message: /did you mean `Detector`/ },
    { code: 'UNKNOWN_DEPLOYMENT', path: 'calls.Detector.x', message: /did you mean `Cropper`/ },
    { code: 'BAD_CALL', path: 'calls.Detector.y', message: /only the deployment is named, as in `Cropper`/ },
  ]);
});

t.test('a cycle of calls is found across applications, self-calls included', async (t) => {
  const target = (application: string, deployment: string) => ({ application, deployment, method: 'call' });
  const application = (name: string, calls: Record<string, Record<string, ReturnType<typeof target>>>) => ({
    name,
    ingress: { kind: 'deployment', deployment: 'A' } as const,
    calls,
  });
  const forth = application('x', { A: { b: target('y', 'B'), c: target('x', 'C') }, C: { b: target('y', 'B') } });
  t.same(findCycles([forth, application('y', {})]), []);
  t.same(findCycles([forth, application('y', { B: { c: target('x', 'C') } })]), [['y/B', 'x/C', 'y/B']]);
  t.same(findCycles([application('x', { A: { me: target('x', 'A') } })]), [['x/A', 'x/A']]);
  t.same(
    findCycles([application('x', { A: { me: target('x', 'A') }, B: { c: target('x', 'C') }, C: { b: target('x', 'B') } })]),
    [
      ['x/A', 'x/A'],
      ['x/B', 'x/C', 'x/B'],
    ],
    'each of several',
  );
});
