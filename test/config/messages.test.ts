// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is the config's own syntax
/** The mistakes that are made most often, and what is said of them, word for word: good English that says what to do. */
import t from 'tap';
import { formatDiagnostics } from '../../src/config/format.ts';
import { compiled } from './fixtures/rig.ts';

const MESSAGES: readonly (readonly [what: string, text: string, said: string])[] = [
  [
    'a key that is misspelt',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts, num_replica: 2}
`,
    `4:48: error UNKNOWN_KEY applications[0].deployments[0].num_replica: expected a known key, got the unknown key \`num_replica\`; did you mean \`num_replicas\`?
      - {name: Greeter, import_path: ./greeter.ts, num_replica: 2}
                                                   ^`,
  ],
  [
    'a key in the wrong section',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts, num_cpus: 2}
`,
    `4:48: error UNKNOWN_KEY applications[0].deployments[0].num_cpus: expected a key of this section, got the unknown key \`num_cpus\`; it belongs in \`ray_actor_options\`
      - {name: Greeter, import_path: ./greeter.ts, num_cpus: 2}
                                                   ^`,
  ],
  [
    'a key of an earlier Ray Serve',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts, max_concurrent_queries: 10}
`,
    `4:48: error UNKNOWN_KEY applications[0].deployments[0].max_concurrent_queries: expected a known key, got the unknown key \`max_concurrent_queries\`; did you mean \`max_ongoing_requests\`?
      - {name: Greeter, import_path: ./greeter.ts, max_concurrent_queries: 10}
                                                   ^`,
  ],
  [
    'a number in quotes',
    `http_options: {port: "8000"}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `1:22: error WRONG_TYPE http_options.port: expected an integer from 0 to 65535, got the text \`8000\`; write it without quotes
    http_options: {port: "8000"}
                         ^`,
  ],
  [
    'a port that is too high',
    `http_options: {port: 80000}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `1:22: error OUT_OF_RANGE http_options.port: expected an integer from 0 to 65535, got 80000
    http_options: {port: 80000}
                         ^`,
  ],
  [
    'yes for true',
    `logging_config: {enable_access_log: yes}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `1:37: error WRONG_TYPE logging_config.enable_access_log: expected \`true\` or \`false\`, got the text \`yes\`; in YAML 1.2 \`yes\` is text: write \`true\`
    logging_config: {enable_access_log: yes}
                                        ^`,
  ],
  [
    'seconds with a unit',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts, request_timeout_s: 500ms}
`,
    `4:67: error WRONG_TYPE applications[0].deployments[0].request_timeout_s: expected a number of seconds above 0 or null, got the text \`500ms\`; write it in seconds, without a unit: \`0.5\`
    ame: Greeter, import_path: ./greeter.ts, request_timeout_s: 500ms}
                                                                ^`,
  ],
  [
    'a size as Kubernetes writes it',
    `http_options: {max_request_body: 2Gi}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `1:34: error BAD_SIZE http_options.max_request_body: expected a number of bytes ≥ 1 or a size such as \`64MiB\` or \`1 GB\`, got the text \`2Gi\`; write \`2GiB\`
    http_options: {max_request_body: 2Gi}
                                     ^`,
  ],
  [
    'no replicas',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts, num_replicas: 0}
`,
    `4:62: error OUT_OF_RANGE applications[0].deployments[0].num_replicas: expected an integer from 1 to 1000, \`auto\` or null, got 0
     - {name: Greeter, import_path: ./greeter.ts, num_replicas: 0}
                                                                ^`,
  ],
  [
    'a list that is missing',
    `http_options: {port: 0}
`,
    `1:1: error MISSING_KEY: expected the key \`applications\`, got none; write \`applications: []\` for none
    http_options: {port: 0}
    ^`,
  ],
  [
    'an empty list',
    `applications:
`,
    `1:1: error WRONG_TYPE applications: expected a list, got nothing; write \`[]\` for none
    applications:
    ^`,
  ],
  [
    'a name that is missing',
    `applications:
- deployments:
  - {import_path: ./greeter.ts}
`,
    `3:5: error MISSING_KEY applications[0].deployments[0]: expected the key \`name\`, got none; it takes a name (a letter, then letters, digits, \`_\` or \`-\`, at most 63 in all)
      - {import_path: ./greeter.ts}
        ^`,
  ],
  [
    'nothing to run',
    `applications:
- deployments:
  - {name: Greeter}
`,
    `3:5: error NOTHING_TO_RUN applications[0].deployments[0]: expected \`import_path\` (code) or \`model\` (an ONNX file), got neither; say what the deployment runs
      - {name: Greeter}
        ^`,
  ],
  [
    'a route with a slash at its end',
    `applications:
- route_prefix: /hello/
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `2:17: error BAD_ROUTE applications[0].route_prefix: expected a route (\`/\` or \`/segment…\`, without a slash at the end, an empty segment, blanks or any of \`? # { } %\`, and not under \`/-\`), or null, got the text \`/hello/\`
    - route_prefix: /hello/
                    ^`,
  ],
  [
    'two applications on one route',
    `applications:
- {name: a, deployments: [{name: A, model: a.onnx}]}
- {name: b, deployments: [{name: B, model: b.onnx}]}
`,
    `3:3: error DUPLICATE_ROUTE applications[1].route_prefix: expected a \`route_prefix\` of its own for each application, got \`/\` twice; \`null\` keeps one off HTTP
    - {name: b, deployments: [{name: B, model: b.onnx}]}
      ^`,
  ],
  [
    'an ingress that is missing',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
  - {name: Weather, import_path: ./weather.ts}
`,
    `2:3: error INGRESS_NEEDED applications[0]: \`hello\` has several deployments (\`Greeter\`, \`Weather\`): say with \`graph.ingress\` which of them takes the requests, or wire them with \`graph.steps\`
    - name: hello
      ^`,
  ],
  [
    'a deployment that there is not',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
  graph: {calls: {Greeter: {weather: Wether}}}
`,
    `5:38: error UNKNOWN_DEPLOYMENT applications[0].graph.calls.Greeter.weather: \`Wether\`: there is no deployment \`Wether\` in \`hello\`; deployments: \`Greeter\`
      graph: {calls: {Greeter: {weather: Wether}}}
                                         ^`,
  ],
  [
    'a file that is missing',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `4:34: error FILE_MISSING applications[0].deployments[0].import_path: expected a file, got none: there is no such file; looked for \`/srv/greeter.ts\`
      - {name: Greeter, import_path: ./greeter.ts}
                                     ^`,
  ],
  [
    'a variable that is not set',
    `http_options:
  port: \${PORT}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `2:9: error UNSET_VARIABLE http_options.port: expected \`PORT\` in the environment, got none; set it, or give a default: \`\${PORT:-default}\`
      port: \${PORT}
            ^`,
  ],
  [
    'a variable without quotes in braces',
    `http_options: {port: \${PORT}}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `1:23: error YAML_SYNTAX: expected the end of the value, got \`{\`; put the whole value in quotes, or begin a new line (inside \`[…]\` and \`{…}\` a \`\${NAME}\` needs quotes)
    http_options: {port: \${PORT}}
                          ^`,
  ],
  [
    'a tab',
    `applications:
\t- name: hello
`,
    `2:1: error YAML_SYNTAX: expected spaces, got a tab; YAML is indented with spaces only
     - name: hello
    ^`,
  ],
  [
    'an indentation that is off',
    `applications:
- name: hello
   route_prefix: /
`,
    `2:9: error YAML_SYNTAX: expected one value, got \`hello\` and a mapping below it; is the next line indented too far?
    - name: hello
            ^`,
  ],
  [
    'a quote that is not closed',
    `applications:
- name: "hello
  route_prefix: /
`,
    `2:9: error YAML_SYNTAX: expected a closing \`"\`, got the end of the file; this quote is never closed
    - name: "hello
            ^`,
  ],
  [
    'a bracket that is not closed',
    `applications: [
  {name: hello}
`,
    `1:15: error YAML_SYNTAX: expected \`]\`, got the end of the file; close this \`[\`, and indent its lines
    applications: [
                  ^`,
  ],
  [
    'a colon that is missing',
    `applications:
- name: hello
  route_prefix /
`,
    `3:3: error YAML_SYNTAX: expected \`key: value\`, got \`route_prefix\` without a value; put a \`:\` and a blank behind the key
      route_prefix /
      ^`,
  ],
  [
    'a key twice',
    `applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts, num_replicas: 1, num_replicas: 2}
`,
    `4:65: error DUPLICATE_KEY applications[0].deployments[0].num_replicas: expected each key once, got \`num_replicas\` twice in this mapping; keep one
    {name: Greeter, import_path: ./greeter.ts, num_replicas: 1, num_replicas: 2}
                                                                ^`,
  ],
  [
    'a host for everybody without a token',
    `admin_options: {host: 0.0.0.0}
applications:
- name: hello
  deployments:
  - {name: Greeter, import_path: ./greeter.ts}
`,
    `1:23: error TOKEN_NEEDED admin_options.host: expected a \`token\`, or a loopback \`host\`, got a host that other machines reach (\`0.0.0.0\`) and no token
    admin_options: {host: 0.0.0.0}
                          ^`,
  ],
];

for (const [what, text, said] of MESSAGES) {
  t.test(what, async (t) => {
    const exists = () => what !== 'a file that is missing';
    t.equal(formatDiagnostics(compiled(text, {}, exists).diagnostics).replaceAll('/srv/config.yaml:', ''), said);
  });
}
