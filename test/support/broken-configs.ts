// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
/** Config files that are broken in every way that somebody thought of, the same at every run. */
import { readFileSync } from 'node:fs';
import { childOf, configSchema, follow, type SchemaNode } from '../../src/config/schema.ts';

export interface BrokenConfig {
  readonly title: string;
  readonly content: string | Uint8Array;
  /** False: it may be valid by chance, such as a text that is cut off at the end of a line. */
  readonly surely: boolean;
}

export const SAMPLE = readFileSync(new URL('../config/fixtures/full.good.yaml', import.meta.url), 'utf8');
export const ENVIRONMENT = {
  HTTP_PORT: '8100',
  TOKEN: 'the-secret-value',
  EMPTY: '',
  LIST: '[1, the-secret-value]',
  TEXT: 'the-secret-value',
  BAD: 'a: {the-secret-value',
} as const;

/** Never in a message, as it stands in the environment only. */
export const SECRET = 'the-secret-value';

const APP = (deployment: string, graph = '', more = ''): string =>
  `applications:\n  - name: a\n    deployments:\n      - {name: Echo, import_path: ./echo.ts${deployment}}\n${graph === '' ? '' : `    graph: ${graph}\n`}${more}`;

const EMPTY = 'applications: []\n';

/** Values of every type, and of none that a config has. */
const VALUES: readonly string[] = [
  'null',
  'true',
  'yes',
  '-1',
  '0',
  '1.5',
  '1e308',
  '99999999999999999999',
  '.inf',
  '.nan',
  '"5"',
  'text',
  '""',
  '"\\u0000"',
  '[]',
  '[1]',
  '{}',
  '{a: 1}',
  '*nobody',
  '!tag x',
  '${GONE}',
  '"${TEXT}"',
  '"${BAD}"',
  '"${"',
  '"${1x}"',
  'https://example.com/x',
  '/../..',
  '$step.x',
  '2026-01-01',
  '0x1F',
  '1_000',
  '__proto__',
];

/** A value of each type that the field takes would be good: those are left out. */
const isWrong = (node: SchemaNode, value: string): boolean => {
  const types = [node.type ?? []].flat();
  if (['*nobody', '!tag x', '${GONE}', '.inf', '.nan', '99999999999999999999', '"${"', '"${1x}"'].includes(value)) return true;
  if (node['x-status'] !== undefined || types.length === 0) return false;
  if (value === '[]' || value === '[1]') return !types.includes('array');
  if (value === '{a: 1}' || value === '{}') return !types.includes('object');
  if (value === 'true') return !types.includes('boolean');
  if (value === 'yes') return types.includes('boolean') && !types.includes('string');
  if (value === '1e308') return types.includes('number') && node.maximum !== undefined;
  return false;
};

const MAX_FIELD_DEPTH = 7;

/** The fields with a value of their own, as the path of keys from the root; `[]` is the first item of a list, `*` any key of a mapping. */
function* leaves(node: SchemaNode, path: readonly string[] = []): Generator<{ path: readonly string[]; node: SchemaNode }> {
  // Conditions are made of conditions.
  if (path.length > MAX_FIELD_DEPTH) return;
  for (const key of Object.keys(node.properties ?? {})) {
    const child = childOf(node, key) as SchemaNode;
    const here = [...path, key];
    yield { path: here, node: child };
    yield* leaves(child, here);
    if (child.items !== undefined) yield* leaves(follow(child.items), [...here, '[]']);
    if (typeof child.additionalProperties === 'object') yield* leaves(follow(child.additionalProperties), [...here, '*']);
  }
}

/** A file that says nothing but one field, and what must stand beside it. */
const only = (path: readonly string[], value: string): string => {
  const build = (keys: readonly string[], at: string): string => {
    const [key, ...rest] = keys;
    if (key === undefined) return value;
    if (key === '[]') return `[${build(rest, `${at}[]`)}]`;
    const name = key === '*' ? 'x' : key;
    const beside =
      at === 'applications[].deployments[]' && key !== 'name'
        ? `name: A, ${key === 'model' || key === 'import_path' ? '' : 'import_path: ./a.ts, '}`
        : at.endsWith('.steps.x') && key !== 'call'
          ? 'call: A, '
          : at === 'applications[]' && key !== 'deployments'
            ? 'deployments: [{name: A, import_path: ./a.ts}], '
            : '';
    return `{${beside}${name}: ${build(rest, at === '' ? name : `${at}.${name}`)}}`;
  };
  const [first = '', ...rest] = path;
  return `${first === 'applications' ? '' : EMPTY}${first}: ${build(rest, first)}\n`;
};

function* ofFields(): Generator<BrokenConfig> {
  for (const { path, node } of leaves(configSchema)) {
    const name = path.join('.').replaceAll('.[]', '[]');
    for (const value of VALUES) yield { title: `${name}: ${value}`, content: only(path, value), surely: isWrong(node, value) };
    const key = path.at(-1) ?? '';
    if (key !== '*' && key.length > 3)
      yield {
        title: `${name} misspelt`,
        content: only([...path.slice(0, -1), `${key.slice(0, -2)}${key.at(-1)}x`], 'null'),
        surely: !path.slice(0, -1).some((part) => ['init_args', 'args', 'user_config', 'input'].includes(part)),
      };
  }
}

const bytes = (...parts: (string | readonly number[])[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))));

const utf16 = (text: string, littleEndian: boolean): Buffer => {
  const buffer = Buffer.from(text, 'utf16le');
  return littleEndian ? buffer : buffer.swap16();
};

const repeat = (count: number, each: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => each(index)).join('');

/** By title. */
const BY_HAND: Readonly<Record<string, string | Uint8Array>> = {
  // Encodings.
  'UTF-16 with a mark, little endian': bytes([0xff, 0xfe], [...utf16(EMPTY, true)]),
  'UTF-16 with a mark, big endian': bytes([0xfe, 0xff], [...utf16(EMPTY, false)]),
  'UTF-16 without a mark': utf16(EMPTY, true),
  'UTF-16 without a mark, big endian': utf16(EMPTY, false),
  'UTF-32': bytes(
    [0xff, 0xfe, 0, 0],
    [...EMPTY].flatMap((one) => [one.charCodeAt(0), 0, 0, 0]),
  ),
  'a byte of Latin-1': bytes('applications: []\n# caf', [0xe9], '\n'),
  'a byte that no text has': bytes('applications: [', [0xff], ']\n'),
  'a character cut in two': bytes('applications: []\nx: "', [0xf0, 0x9f, 0x98], '"\n'),
  'an overlong slash': bytes('applications: []\nx: ', [0xc0, 0xaf], '\n'),
  'half a surrogate': bytes('applications: []\nx: ', [0xed, 0xa0, 0x80], '\n'),
  'a replacement character, then a bad byte': bytes('applications: []\nx: \ufffd\ny: ', [0xfe], '\n'),
  'a NUL': 'applications: []\nx: \0\n',
  'an escape': 'applications: []\n# \u001b[31mred\n',
  'a bell': 'applications: []\nx: "\u0007"\n',
  'a delete': 'applications: []\nx: \u007f\n',
  'a C1 control': 'applications: []\nx: \u0090\n',
  'U+FFFE': 'applications: []\nx: \ufffe\n',
  'an executable': bytes([0x7f], 'ELF', [2, 1, 1, 0, 0, 0]),
  'a zip': bytes('PK', [3, 4, 20, 0, 0, 0]),
  'a mark of order in the middle': 'applications: []\n\ufeffx: 1\n',
  'only a mark of order': '\ufeff',
  'NEL for a line end': 'applications: []\u0085port: 1\u0085',
  'line separators': 'applications: []\u2028x: 1\u2029',
  // Nothing, or not the thing.
  'no byte at all': '',
  'blanks only': '   \n\n  \n',
  'a comment only': '# nothing yet\n',
  null: 'null\n',
  'a tilde': '~\n',
  'a number': '42\n',
  'a text': 'hello\n',
  'a list': '- applications\n',
  'a list of applications': '- name: a\n  deployments: []\n',
  'an HTML page': '<!doctype html>\n<title>Not found</title>\n',
  'an INI file': '[http]\nport = 80\n',
  TOML: '[[applications]]\nname = "a"\n',
  'a merge conflict': '<<<<<<< HEAD\napplications: []\n=======\napplications:\n>>>>>>> other\n',
  'JSON with a comma too many': '{"applications": [],}, \n',
  'JSON that is cut off': '{"applications": [',
  JavaScript: 'export default {applications: []};\n',
  'two documents': 'applications: []\n---\napplications: []\n',
  'a document that has ended': 'applications: []\n...\nmore: 1\n',
  'another version of YAML': '%YAML 1.1\n---\napplications: []\n',
  'a version that there is not': '%YAML 9.9\n---\napplications: []\n',
  'a directive that nobody knows': '%FOO bar\n---\napplications: []\n',
  'a directive without a document': '%YAML 1.2\napplications: []\n',
  'a tag directive': '%TAG !e! tag:example.com,2000:\n---\napplications: !e!list []\n',
  'no applications': 'http_options: {port: 80}\n',
  'applications: null': 'applications:\n',
  'applications as a mapping': 'applications: {a: {deployments: []}}\n',
  'an application that is text': 'applications: [text]\n',
  'an application that is null': 'applications:\n  -\n',
  'an application that is a list': 'applications: [[]]\n',
  // Syntax.
  'a tab for indentation': 'applications:\n\t- name: a\n',
  'a tab behind blanks': 'applications:\n  - name: a\n  \troute_prefix: /\n',
  'a key without a colon': 'applications\n',
  'a key without a blank behind the colon': 'applications:[]\n',
  'a key without a value': 'applications:\n  - name: a\n    route_prefix /\n    deployments: []\n',
  'a key that hangs': 'applications: []\nhttp_options:\n   port: 1\n  host: x\n',
  'items that hang': 'applications:\n  - name: a\n - name: b\n',
  'a mapping in a line': 'applications: []\nhttp_options: port: 80\n',
  'a list in a line': 'applications: - name: a\n',
  'a quote that is not closed': 'applications: []\nx: "abc\ny: 1\n',
  'a single quote that is not closed': "applications: []\nx: 'abc\n",
  'a bracket that is not closed': 'applications: [\n',
  'a brace that is not closed': 'http_options: {port: 80\napplications: []\n',
  'a bracket that was not opened': 'applications: ]\n',
  'a brace that was not opened': 'applications: []}\n',
  'the wrong bracket': 'applications: [}\n',
  'a comma too many': 'applications: [,]\n',
  'a comma that is missing': 'http_options: {port: 80 host: x}\napplications: []\n',
  'text behind a quote': 'applications: []\nx: "a" b\n',
  'an escape that there is not': 'applications: []\nx: "\\d"\n',
  'an escape that is cut off': 'applications: []\nx: "\\u12"\n',
  'an at sign': 'applications: []\nx: @a\n',
  'a backtick': 'applications: []\nx: `a`\n',
  'a per cent sign': 'applications: []\nx: %a\n',
  'a block text with a bad header': 'applications: []\nx: |q\n  a\n',
  'a block text that hangs': 'applications: []\nx: |\n   a\n  b\n c\n',
  'a complex key': '? [applications]\n: []\n',
  'a null key': ': 1\napplications: []\n',
  'a question mark': '? applications\n',
  'a key of 2,000 characters': `applications: []\n${'k'.repeat(2000)}: 1\n`,
  'a line of 1 MB': `applications: []\nx: ${'y'.repeat(1_000_000)}\n`,
  'a quoted text of 1 MB that is not closed': `applications: []\nx: "${'y'.repeat(1_000_000)}\n`,
  'a number of 100,000 digits': `http_options: {port: ${'9'.repeat(100_000)}}\napplications: []\n`,
  'carriage returns alone': 'applications: []\rx: 1\r',
  'CRLF with a mistake': 'applications: []\r\nhttp_options:\r\n  prt: 80\r\n',
  // Keys.
  'a key twice': 'applications: []\napplications: []\n',
  'a key twice, deep': APP(', num_replicas: 1, num_replicas: 2'),
  'a key twice, quoted once': 'applications: []\n"applications": []\n',
  'a __proto__ at the top': 'applications: []\n__proto__: {port: 1}\n',
  'a __proto__ in a deployment': APP(', __proto__: {num_replicas: 5}'),
  'constructor as a key': APP(', constructor: {prototype: {a: 1}}'),
  'toString as a key': 'applications: []\ntoString: 1\n',
  'hasOwnProperty as a key': 'applications: []\nhttp_options: {hasOwnProperty: 1}\n',
  '__proto__ as a step': APP('', '{steps: {__proto__: {call: Echo, input: 1}}}'),
  '__proto__ as a caller': APP('', '{calls: {__proto__: {a: Echo}}}'),
  '__proto__ as a name': 'applications: [{name: __proto__, deployments: [{name: A, model: a}]}]\n',
  'a number as a key': 'applications: []\n5: 1\n',
  'a boolean as a key': 'applications: []\ntrue: 1\n',
  'a mapping as a key': 'applications: []\n{a: 1}: 1\n',
  'a key in another case': 'Applications: []\n',
  'a key with blanks': 'applications: []\n"http options": {}\n',
  'a key with a line end': 'applications: []\n"http\\noptions": {}\n',
  'a key with an escape for the terminal': 'applications: []\n"\\e[31m": {}\n',
  'a thousand unknown keys': `${EMPTY}${repeat(1000, (index) => `k${index}: 1\n`)}`,
  'Ray Serve’s old key': APP(', max_concurrent_queries: 5'),
  'a host inside an application': 'applications: [{host: 0.0.0.0, deployments: [{name: A, model: a}]}]\n',
  // Anchors and aliases.
  'an alias of nothing': 'applications: *nobody\n',
  'an alias before its anchor': 'http_options: *a\nadmin_options: &a {port: 1}\napplications: []\n',
  'an alias of itself': 'applications: &a [*a]\n',
  'an alias of what is around it': 'applications:\n  - &a\n    name: a\n    args: {b: {c: *a}}\n',
  'an anchor without a name': 'applications: & []\n',
  'an alias without a name': 'applications: *\n',
  'two anchors': 'applications: &a &b []\n',
  'an alias with a tag': 'x: &a 1\napplications: !!str *a\n',
  'an alias bomb': `a: &a [x, x, x, x, x, x, x, x, x, x]\n${repeat(8, (index) => `${'bcdefghi'[index]}: &${'bcdefghi'[index]} [${Array(10).fill(`*${'abcdefgh'[index]}`).join(', ')}]\n`)}applications: []\n`,
  'two thousand aliases': `a: &a 1\nb: [${Array(2000).fill('*a').join(', ')}]\napplications: []\n`,
  'a merge of nothing': 'http_options:\n  <<: *nobody\napplications: []\n',
  'a merge of a number': 'http_options:\n  <<: 5\napplications: []\n',
  'a merge of texts': 'http_options:\n  <<: [a, b]\napplications: []\n',
  'a merge of itself': 'http_options: &h\n  <<: *h\napplications: []\n',
  'two merges': 'a: &a {port: 1}\nhttp_options:\n  <<: *a\n  <<: *a\napplications: []\n',
  'a merge of an unknown key': 'http_options:\n  <<: {prt: 1}\napplications: []\n',
  'a merge bomb': `a: &a {x: 1}\n${repeat(20, (index) => `m${index}: &m${index} {<<: [*${index === 0 ? 'a' : `m${index - 1}`}, *${index === 0 ? 'a' : `m${index - 1}`}], k${index}: 1}\n`)}applications: []\n`,
  // Tags.
  'an unknown tag': 'applications: !list []\n',
  'a tag of Python': 'applications: !!python/object:os.system ["ls"]\n',
  'a tag of binary': 'x: !!binary aGVsbG8=\napplications: []\n',
  'a tag of a set': 'x: !!set {a, b}\napplications: []\n',
  'a tag of a timestamp': 'x: !!timestamp 2026-01-01\napplications: []\n',
  'a tag of an integer for text': 'http_options: {port: !!int abc}\napplications: []\n',
  'a tag of a map for a list': 'applications: !!map []\n',
  'a verbatim tag': 'applications: !<tag:example.com,2000:x> []\n',
  'a tag that is not closed': 'applications: !<tag []\n',
  // Depth and size.
  'lists 200 deep': `applications: ${'['.repeat(200)}${']'.repeat(200)}\n`,
  'lists 100,000 deep': `applications: ${'['.repeat(100_000)}`,
  'mappings 10,000 deep': `applications: ${'{a: '.repeat(10_000)}`,
  'blocks 500 deep': `applications:\n${repeat(500, (index) => `${' '.repeat(index + 1)}a:\n`)}`,
  'items 5,000 deep': `applications:\n  ${'- '.repeat(5000)}x\n`,
  'keys 5,000 deep': `x: ${'? '.repeat(5000)}x\napplications: []\n`,
  'init_args 70 deep': APP(`, init_args: ${'{a: '.repeat(70)}1${'}'.repeat(70)}`),
  'one byte over 4 MiB': `${EMPTY}#${'x'.repeat(4 * 1024 * 1024 - EMPTY.length)}`,
  '5 MiB': `${EMPTY}# ${'x'.repeat(5 * 1024 * 1024)}`,
  '200,000 items': `applications: [${'a,'.repeat(200_000)}]\n`,
  '400,000 blank lines and a mistake': `${'\n'.repeat(400_000)}x: 1\n`,
  '30,000 deployments of one name': `applications:\n- deployments:\n${repeat(12_000, () => '  - {name: A}\n')}`,
  // Units and ranges.
  'a port that is negative': 'http_options: {port: -1}\napplications: []\n',
  'a port that is too high': 'http_options: {port: 65536}\napplications: []\n',
  'a port with a fraction': 'http_options: {port: 80.5}\napplications: []\n',
  'a port in quotes': 'http_options: {port: "80"}\napplications: []\n',
  'two listeners on one port': 'http_options: {port: 9999}\nadmin_options: {port: 9999}\napplications: []\n',
  'a size without a unit that there is': 'http_options: {max_request_body: 5 apples}\napplications: []\n',
  'a size in bits': 'http_options: {max_request_body: 5Kib}x\napplications: []\n',
  'a size below nothing': 'http_options: {max_request_body: -5MB}\napplications: []\n',
  'a size beyond everything': 'http_options: {max_request_body: 99999999TB}\napplications: []\n',
  'a size with an exponent': 'http_options: {max_request_body: 1e3KB}\napplications: []\n',
  'a size with only a unit': 'http_options: {max_request_body: MB}\napplications: []\n',
  'seconds with a unit': 'shutdown_timeout_s: 5s\napplications: []\n',
  'seconds below nothing': 'shutdown_timeout_s: -1\napplications: []\n',
  'a time-out of nothing': APP(', request_timeout_s: 0'),
  'no replicas': APP(', num_replicas: 0'),
  'a million replicas': APP(', num_replicas: 1000000'),
  'replicas with a fraction': APP(', num_replicas: 1.5'),
  'a queue of -2': APP(', max_queued_requests: -2'),
  'a status for backpressure that there is not': APP(', backpressure_config: {status_code: 500}'),
  'a batch that never fills': APP(', max_ongoing_requests: 4, batching: {max_batch_size: 8}'),
  'yes for true': 'logging_config: {enable_access_log: yes}\napplications: []\n',
  'off for false': 'logging_config: {enable_access_log: off}\napplications: []\n',
  'octal of YAML 1.1': 'http_options: {port: 0o99}\napplications: []\n',
  'a port in base 60': 'http_options: {port: 8:00}\napplications: []\n',
  'a log level that there is not': 'logging_config: {log_level: LOUD}\napplications: []\n',
  'a place for the proxy that there is not': 'proxy_location: Head\napplications: []\n',
  // Names and routes.
  'a name that begins with a digit': 'applications: [{name: 5x, deployments: [{name: A, model: a}]}]\n',
  'a name with a blank': 'applications: [{name: a b, deployments: [{name: A, model: a}]}]\n',
  'a name with a slash': 'applications: [{name: a/b, deployments: [{name: A, model: a}]}]\n',
  'a name with a dot': 'applications: [{name: a.b, deployments: [{name: A, model: a}]}]\n',
  'a name of 64 characters': `applications: [{name: ${'a'.repeat(64)}, deployments: [{name: A, model: a}]}]\n`,
  'an empty name': 'applications: [{name: "", deployments: [{name: A, model: a}]}]\n',
  'a name in Greek': 'applications: [{name: αβγ, deployments: [{name: A, model: a}]}]\n',
  'a name that is a number': 'applications: [{name: 5, deployments: [{name: A, model: a}]}]\n',
  'two applications of one name':
    'applications: [{name: a, deployments: [{name: A, model: a}]}, {name: a, route_prefix: /b, deployments: [{name: A, model: a}]}]\n',
  'two applications without a name':
    'applications: [{deployments: [{name: A, model: a}]}, {route_prefix: /b, deployments: [{name: A, model: a}]}]\n',
  'two deployments of one name':
    'applications: [{deployments: [{name: A, model: a}, {name: A, model: b}], graph: {ingress: A}}]\n',
  'two applications of one route':
    'applications: [{name: a, deployments: [{name: A, model: a}]}, {name: b, deployments: [{name: A, model: a}]}]\n',
  'a route without a slash': 'applications: [{route_prefix: a, deployments: [{name: A, model: a}]}]\n',
  'a route with a slash at its end': 'applications: [{route_prefix: /a/, deployments: [{name: A, model: a}]}]\n',
  'a route with an empty segment': 'applications: [{route_prefix: /a//b, deployments: [{name: A, model: a}]}]\n',
  'a route with a parameter': 'applications: [{route_prefix: "/{id}", deployments: [{name: A, model: a}]}]\n',
  'a route with a query': 'applications: [{route_prefix: "/a?b", deployments: [{name: A, model: a}]}]\n',
  'a route with a per cent sign': 'applications: [{route_prefix: "/a%20b", deployments: [{name: A, model: a}]}]\n',
  'a route with a blank': 'applications: [{route_prefix: "/a b", deployments: [{name: A, model: a}]}]\n',
  'a route of the daemon': 'applications: [{route_prefix: /-/healthz, deployments: [{name: A, model: a}]}]\n',
  'an empty route': 'applications: [{route_prefix: "", deployments: [{name: A, model: a}]}]\n',
  // What runs.
  'nothing to run': 'applications: [{deployments: [{name: A}]}]\n',
  'code and a model': 'applications: [{deployments: [{name: A, import_path: ./a.ts, model: a}]}]\n',
  'code from afar': APP('').replace('./echo.ts', 'https://example.com/echo.ts'),
  'code as data': APP('').replace('./echo.ts', 'data:text/javascript,1'),
  'a package of npm': APP('').replace('./echo.ts', 'npm:left-pad'),
  'a model from a bucket': 'applications: [{deployments: [{name: A, model: s3://bucket/a.onnx}]}]\n',
  'a model without a path': 'applications: [{deployments: [{name: A, model: {}}]}]\n',
  'an import path with two colons': APP('').replace('./echo.ts', 'a:b:c'),
  'an import path that begins with a colon': APP('').replace('./echo.ts', '":x"'),
  'an import path that ends with a colon': APP('').replace('./echo.ts', '"a:"'),
  'an export that is no name': APP('').replace('./echo.ts', './echo.ts:a-b'),
  'both names of the options': APP(', ray_actor_options: {num_cpus: 1}, replica_options: {num_cpus: 1}'),
  'a method for a model': 'applications: [{deployments: [{name: A, model: a, batching: {method: x}}]}]\n',
  'a variable of the environment with an equals sign': APP(', replica_options: {runtime_env: {env_vars: {"A=B": x}}}'),
  'a variable of the environment that is a number': APP(', replica_options: {runtime_env: {env_vars: {A: 5}}}'),
  'a variable of the environment with NUL': APP(', replica_options: {runtime_env: {env_vars: {A: "x\\0y"}}}'),
  'a folder from afar': APP(', replica_options: {runtime_env: {working_dir: "gs://bucket/x.zip"}}'),
  // References.
  'an ingress that there is not': APP('', '{ingress: Ech}'),
  'an ingress that is needed': 'applications: [{deployments: [{name: A, model: a}, {name: B, model: b}]}]\n',
  'an application of nothing': 'applications: [{name: a}]\n',
  'an ingress beside steps': APP('', '{ingress: Echo, steps: {s: {call: Echo, input: 1}}}'),
  'an output without steps': APP('', '{output: 1}'),
  'no steps': APP('', '{steps: {}}'),
  'a call of nobody': APP('', '{calls: {Echo: {x: Nobody}}}'),
  'a call of another application that there is not': APP('', '{calls: {Echo: {x: b/Echo}}}'),
  'a call with two slashes': APP('', '{calls: {Echo: {x: a/b/Echo}}}'),
  'a call of itself': APP('', '{calls: {Echo: {me: Echo}}}'),
  'a caller that there is not': APP('', '{calls: {Nobody: {x: Echo}}}'),
  'a call of a method through a handle': APP('', '{calls: {Echo: {x: Echo.read}}}'),
  'a step that calls nobody': APP('', '{steps: {s: {call: Nobody, input: 1}}}'),
  'a step without a call': APP('', '{steps: {s: {input: 1}}}'),
  'a step without an input': APP('', '{steps: {s: {call: Echo}}}'),
  'a step that refers to none': APP('', '{steps: {s: {call: Echo, input: $x}}}'),
  'a step that refers to itself': APP('', '{steps: {s: {call: Echo, input: $s}}}'),
  'steps in a circle': APP('', '{steps: {s: {call: Echo, input: $t}, t: {call: Echo, input: $s}}}'),
  'a step called item': APP('', '{steps: {item: {call: Echo, input: 1}}}'),
  'a step called constructor': APP('', '{steps: {constructor: {call: Echo, input: 1}}}'),
  'a reference that is cut off': APP('', '{steps: {s: {call: Echo, input: $request.}}}'),
  'a reference with an open bracket': APP('', '{steps: {s: {call: Echo, input: "$request.json[0"}}}'),
  'a reference into nothing of the request': APP('', '{steps: {s: {call: Echo, input: $request.cookies}}}'),
  'a dollar alone': APP('', '{steps: {s: {call: Echo, input: $}}}'),
  'an item outside of a list': APP('', '{steps: {s: {call: Echo, input: $item}}}'),
  'a list that is none': APP('', '{steps: {s: {call: Echo, for_each: 5}}}'),
  'two answers': APP('', '{steps: {s: {call: Echo, input: 1}, t: {call: Echo, input: 1}}}'),
  'a handle with the name of an argument': APP(', init_args: {back: 1}', '{calls: {Echo: {back: Echo}}}'),
  'a reference in what stands for an error': APP('', '{steps: {s: {call: Echo, input: 1, on_error: {value: $s}}}}'),
  'an error without a value': APP('', '{steps: {s: {call: Echo, input: 1, on_error: {}}}}'),
  'a cycle over applications':
    'applications: [{name: a, deployments: [{name: A, import_path: ./a.ts}], graph: {calls: {A: {b: b/B}}}}, {name: b, route_prefix: /b, deployments: [{name: B, import_path: ./b.ts}], graph: {calls: {B: {a: a/A}}}}]\n',
  // The environment.
  'a variable that is not set': 'http_options: {host: "${GONE}"}\napplications: []\n',
  'a variable that is not closed': 'http_options: {host: "${HOST"}\napplications: []\n',
  'a variable without a name': 'http_options: {host: "${}"}\napplications: []\n',
  'a variable with a bad name': 'http_options: {host: "${a-b}"}\napplications: []\n',
  'a variable with a default of a shell': 'http_options: {host: "${HOST-x}"}\napplications: []\n',
  'a variable in a variable': 'http_options: {host: "${HOST:-${OTHER}}"}\napplications: []\n',
  'a variable for a number that is text': 'http_options:\n  port: ${TEXT}\napplications: []\n',
  'a variable for a list': 'applications: ${LIST}\n',
  'a variable for a mapping': 'http_options: ${LIST}\napplications: []\n',
  'a variable that is empty for a name': 'applications:\n  - name: ${EMPTY}\n',
  'a variable in braces without quotes': 'http_options: {port: ${HTTP_PORT}}\napplications: []\n',
  'a secret in a route': 'applications:\n  - route_prefix: ${TEXT}\n    deployments: [{name: A, model: a}]\n',
  'a secret in a name': 'applications:\n  - name: "${TEXT}!"\n    deployments: [{name: A, model: a}]\n',
  'a secret in an import path': 'applications:\n  - deployments:\n      - name: A\n        import_path: https://${TEXT}/x\n',
  'a secret in a call':
    'applications:\n  - deployments:\n      - {name: A, import_path: ./a.ts}\n    graph:\n      calls: {A: {b: "${TEXT}"}}\n',
  'a secret in a reference':
    'applications:\n  - deployments: [{name: A, model: a}]\n    graph:\n      steps:\n        s: {call: A, input: "$${TEXT}.x["}\n        t: {call: A, input: "${BAD}"}\n',
  'a secret for a log level': 'logging_config:\n  log_level: ${TEXT}\napplications: []\n',
  'a secret in a size': 'http_options:\n  max_request_body: ${TEXT}\napplications: []\n',
  'a secret twice as a name':
    'applications:\n  - {name: &n "${TEXT}", deployments: [{name: A, model: a}]}\n  - {name: *n, route_prefix: /b, deployments: [{name: A, model: a}]}\n',
  'an admin API without a token': 'admin_options: {host: 0.0.0.0}\napplications: []\n',
  'an admin API with an empty token': 'admin_options:\n  host: 0.0.0.0\n  token: ${EMPTY}\napplications: []\n',
};

function* ofHand(): Generator<BrokenConfig> {
  for (const [title, content] of Object.entries(BY_HAND)) yield { title, content, surely: true };
}

/** Cut off behind each byte; a file that ends there may be a good one. */
function* truncated(): Generator<BrokenConfig> {
  const whole = Buffer.from(SAMPLE);
  for (let length = 0; length < whole.length; length++)
    yield { title: `cut off behind byte ${length}`, content: whole.subarray(0, length), surely: false };
}

/** Each line of the sample indented, outdented, doubled, with a tab, without its colon, and left out. */
function* ofLines(): Generator<BrokenConfig> {
  const lines = SAMPLE.split('\n');
  const edits: Readonly<Record<string, (line: string) => readonly string[]>> = {
    indented: (line) => [` ${line}`],
    outdented: (line) => [line.replace(/^ /, '')],
    doubled: (line) => [line, line],
    'with a tab': (line) => [`\t${line.trimStart()}`],
    'without a colon': (line) => [line.replace(':', '')],
    'with a quote': (line) => [`${line}"`],
    'with a brace': (line) => [`${line}}`],
    'commented out': (line) => [`#${line}`],
    'left out': () => [],
    'under __proto__': (line) => [line.replace(/[a-z_]+:/, '__proto__:')],
  };
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    for (const [how, edit] of Object.entries(edits))
      yield {
        title: `line ${index + 1} ${how}`,
        content: [...lines.slice(0, index), ...edit(line), ...lines.slice(index + 1)].join('\n'),
        surely: false,
      };
  }
}

export const brokenConfigs = (): readonly BrokenConfig[] => [...ofHand(), ...ofFields(), ...ofLines(), ...truncated()];

/** What is wrong with what was said; undefined when a user can work with it. */
export const mistakeOf = (
  diagnostics: readonly { code: string; message: string; line: number; column: number; severity: string; path: string }[],
): string | undefined => {
  for (const { code, message, line, column, path } of diagnostics) {
    const about = `${code} ${path}: ${message}`;
    if (message.trim().length < 12) return `says too little: ${about}`;
    if (/\n/.test(message) || message.length > 1200) return `is too long: ${about.slice(0, 300)}`;
    if (/\bat .*:\d+:\d+|node:internal|TypeError|undefined is not|\[object |\bundefined\b|\bNaN\b/.test(message))
      return `is no message for a user: ${about}`;
    if (message.includes(SECRET) || path.includes(SECRET)) return `prints what came from the environment: ${about}`;
    if (line < 1 || column < 1) return `has no position: ${about}`;
  }
  return undefined;
};
