// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
/** One mistake hides no other, and brings none in its train. */
import t from 'tap';
import { codes, compiled } from './fixtures/rig.ts';

/** Codes with lines, of the errors. */
const told = (text: string) =>
  compiled(text).diagnostics.flatMap(({ severity, code, line }) => (severity === 'error' ? [`${line} ${code}`] : []));

t.test('mistakes of shape and mistakes of the graph are told together', async (t) => {
  const text = `http_options: {port: "80"}
applications:
  - name: a
    deployments:
      - {name: Front, import_path: ./f.ts, num_replicas: 0}
      - {name: Back, import_path: ./b.ts, nam: x}
    graph:
      steps:
        one: {call: Frnt, input: $request.json, timeout_s: soon}
        two: {call: Back, input: $tow}
        three: {call: Back, input: $request.bdy, inputs: 1}
      output: [$one, $two, $three]
`;
  t.same(told(text), [
    '1 WRONG_TYPE',
    '5 OUT_OF_RANGE',
    '6 UNKNOWN_KEY',
    '9 UNKNOWN_DEPLOYMENT',
    '9 WRONG_TYPE',
    '10 UNKNOWN_STEP',
    '11 BAD_REFERENCE',
    '11 UNKNOWN_KEY',
  ]);
});

t.test('each cycle is told, of calls and of steps', async (t) => {
  const text = `applications:
  - name: a
    deployments: &all
      - {name: A, import_path: ./a.ts}
      - {name: B, import_path: ./b.ts}
    graph:
      ingress: A
      calls:
        A: {me: A}
        B: {me: B}
  - name: b
    route_prefix: /b
    deployments: *all
    graph:
      steps:
        one: {call: A, input: $two}
        two: {call: A, input: $one}
        three: {call: B, input: $four}
        four: {call: B, input: $three}
`;
  t.same(told(text), ['9 CALL_CYCLE', '10 CALL_CYCLE', '16 GRAPH_CYCLE', '18 GRAPH_CYCLE']);
});

t.test('a cycle is told although the application has other mistakes', async (t) => {
  const text = `applications:
  - deployments:
      - {name: A, import_path: ./a.ts}
      - {name: B, import_path: ./b.ts, num_replicas: none}
    graph:
      calls:
        A: {b: B}
        B: {a: A, c: C}
`;
  t.same(told(text), ['4 BAD_VALUE', '6 INGRESS_NEEDED', '7 CALL_CYCLE', '8 UNKNOWN_DEPLOYMENT']);
});

const ECHOES: readonly (readonly [what: string, text: string, only: readonly string[]])[] = [
  ['a deployment without a name', 'deployments: [{import_path: ./a.ts}]', ['MISSING_KEY']],
  ['a name that is misspelt', 'deployments: [{nam: A, import_path: ./a.ts}]', ['UNKNOWN_KEY']],
  ['an import path that is misspelt', 'deployments: [{name: A, import_pth: ./a.ts}]', ['UNKNOWN_KEY']],
  ['a variable for the code', 'deployments: [{name: A, import_path: "${GONE}"}]', ['UNSET_VARIABLE']],
  ['a variable for the name', 'deployments: [{name: "${GONE}", import_path: ./a.ts}], graph: {ingress: A}', ['UNSET_VARIABLE']],
  ['deployments that are misspelt', 'deployment: [{name: A, import_path: ./a.ts}]', ['UNKNOWN_KEY']],
  ['deployments that are no list', 'deployments: {A: 1}, graph: {ingress: A}', ['WRONG_TYPE']],
  ['a deployment that is no mapping', 'deployments: [A, {name: B, model: b}], graph: {ingress: A}', ['WRONG_TYPE']],
  ['a graph that is misspelt', 'deployments: [{name: A, model: a}, {name: B, model: b}], grph: {ingress: A}', ['UNKNOWN_KEY']],
  ['an ingress that is misspelt', 'deployments: [{name: A, model: a}, {name: B, model: b}], graph: {ingres: A}', ['UNKNOWN_KEY']],
  ['an ingress that is a list', 'deployments: [{name: A, model: a}, {name: B, model: b}], graph: {ingress: [A]}', ['WRONG_TYPE']],
  [
    'steps that are a list',
    'deployments: [{name: A, model: a}, {name: B, model: b}], graph: {steps: [], output: $x}',
    ['WRONG_TYPE'],
  ],
  ['a step that is no mapping', 'deployments: [{name: A, model: a}], graph: {steps: {x: A}, output: $x}', ['WRONG_TYPE']],
  [
    'a step without a call',
    'deployments: [{name: A, model: a}], graph: {steps: {x: {input: 1}, y: {call: A, input: $x}}}',
    ['CALL_NEEDED'],
  ],
  ['a call that is misspelt', 'deployments: [{name: A, model: a}], graph: {steps: {x: {cal: A, input: 1}}}', ['UNKNOWN_KEY']],
  ['an input that is misspelt', 'deployments: [{name: A, model: a}], graph: {steps: {x: {call: A, inputt: 1}}}', ['UNKNOWN_KEY']],
  [
    'a variable for a call',
    'deployments: [{name: A, model: a}], graph: {steps: {x: {call: "${GONE}", input: 1}}}',
    ['UNSET_VARIABLE'],
  ],
  [
    'a variable in an input',
    'deployments: [{name: A, model: a}], graph: {steps: {x: {call: A, input: "${GONE}"}}}',
    ['UNSET_VARIABLE'],
  ],
  [
    'a variable for a list',
    'deployments: [{name: A, model: a}], graph: {steps: {x: {call: A, for_each: "${GONE}", input: $item}}}',
    ['UNSET_VARIABLE'],
  ],
  [
    'a step with the name of a reference',
    'deployments: [{name: A, model: a}], graph: {steps: {item: {call: A, input: 1}}}',
    ['BAD_NAME'],
  ],
];

for (const [what, application, only] of ECHOES) {
  t.test(`${what} is one mistake`, async (t) => {
    const result = compiled(`applications:\n  - {${application}}\n`);
    t.same(codes(result), only, JSON.stringify(result.diagnostics, null, 1));
  });
}

t.test('a name that cannot be read in one application is no mistake of those that call it', async (t) => {
  const text = `applications:
  - {name: [a], route_prefix: /a, deployments: [{name: A, model: a}]}
  - {name: b, deployments: [{name: B, import_path: ./b.ts}], graph: {calls: {B: {a: a/A}}}}
`;
  t.same(told(text), ['2 WRONG_TYPE']);
});

t.test('a token that is misspelt is one mistake', async (t) => {
  t.same(codes(compiled('admin_options: {host: 0.0.0.0, tokn: x}\napplications: []\n')), ['UNKNOWN_KEY']);
  t.same(codes(compiled('admin_options: {host: 0.0.0.0, token: 5}\napplications: []\n')), ['WRONG_TYPE']);
  t.same([...codes(compiled('admin_options: {host: 0.0.0.0, bakelite: 5}\napplications: []\n'))].sort(), [
    'TOKEN_NEEDED',
    'UNKNOWN_KEY',
  ]);
});

t.test('what is wrong with a file that is named has the place of the key that names it', async (t) => {
  const { named, diagnose } = compiled(`applications:
  - name: a
    deployments:
      - name: A
        import_path: ./a.ts:Missing
      - {name: B, model: {path: ./b.onnx}, num_replicas: none}
      - {name: C, model: ./c.onnx}
`);
  t.match(named, [
    { application: 'a', runs: { kind: 'module', file: '/srv/a.ts', export: 'Missing' } },
    { application: 'a', runs: { kind: 'model', path: '/srv/b.onnx' } },
    { application: 'a', runs: { kind: 'model', path: '/srv/c.onnx' } },
  ]);
  const broken = { severity: 'error', code: 'FILE_BROKEN', message: 'is broken' } as const;
  const places = named.map(({ path, application }) => diagnose({ ...broken, path, application }));
  t.match(places, [
    { code: 'FILE_BROKEN', application: 'a', line: 5, column: 22, path: 'applications[0].deployments[0].import_path' },
    { line: 6, column: 33, path: 'applications[0].deployments[1].model.path' },
    { line: 7, column: 26, path: 'applications[0].deployments[2].model' },
  ]);
  const path = ['applications', 0, 'deployments', 2, 'model', 'path'];
  t.match(diagnose({ ...broken, path, application: 'a' }), {
    path: 'applications[0].deployments[2].model',
    line: 7,
  });
});
