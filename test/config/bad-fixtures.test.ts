/** One mistake a file: its code, and the line and column that are pointed at. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { compile } from '../../src/config/compile.ts';

const MISTAKES: readonly (readonly [file: string, code: string, line: number, column: number])[] = [
  ['empty', 'EMPTY_FILE', 1, 1],
  ['list-root', 'NOT_A_MAPPING', 1, 1],
  ['scalar-root', 'NOT_A_MAPPING', 1, 1],
  ['two-documents', 'SEVERAL_DOCUMENTS', 2, 1],
  ['tab-indent', 'YAML_SYNTAX', 2, 1],
  ['unknown-tag', 'YAML_SYNTAX', 1, 15],
  ['yaml-1-1', 'YAML_VERSION', 1, 1],
  ['control-character', 'CONTROL_CHARACTER', 1, 20],
  ['duplicate-key', 'DUPLICATE_KEY', 7, 9],
  ['merge-twice', 'DUPLICATE_KEY', 5, 3],
  ['merge-of-a-list', 'BAD_MERGE', 2, 8],
  ['unknown-alias', 'UNKNOWN_ALIAS', 2, 15],
  ['alias-cycle', 'ALIAS_CYCLE', 6, 33],
  ['key-is-a-list', 'BAD_KEY', 1, 3],
  ['infinity', 'BAD_NUMBER', 6, 28],
  ['integer-too-large', 'BAD_NUMBER', 6, 25],
  ['flow-variable', 'YAML_SYNTAX', 1, 23],
  ['variable-unset', 'UNSET_VARIABLE', 2, 9],
  ['variable-unterminated', 'UNTERMINATED_VARIABLE', 2, 9],
  ['variable-misspelt', 'BAD_VARIABLE', 2, 9],
  ['variable-token-of-digits', 'WRONG_TYPE', 2, 10],
  ['no-applications', 'MISSING_KEY', 1, 1],
  ['applications-null', 'WRONG_TYPE', 1, 1],
  ['unknown-top-level', 'UNKNOWN_KEY', 1, 1],
  ['unknown-key', 'UNKNOWN_KEY', 6, 9],
  ['proto-key', 'UNKNOWN_KEY', 6, 9],
  ['constructor-key', 'UNKNOWN_KEY', 6, 9],
  ['deployment-without-name', 'MISSING_KEY', 3, 9],
  ['yes-for-true', 'WRONG_TYPE', 2, 22],
  ['quoted-number', 'BAD_VALUE', 6, 23],
  ['fractional-replicas', 'WRONG_TYPE', 6, 23],
  ['no-replicas', 'OUT_OF_RANGE', 6, 23],
  ['negative-queue', 'OUT_OF_RANGE', 6, 30],
  ['timeout-zero', 'OUT_OF_RANGE', 6, 28],
  ['backpressure-status', 'BAD_VALUE', 6, 44],
  ['port-too-high', 'OUT_OF_RANGE', 2, 9],
  ['bad-size', 'BAD_SIZE', 2, 21],
  ['size-too-small', 'OUT_OF_RANGE', 2, 20],
  ['bad-server', 'BAD_VALUE', 2, 11],
  ['bad-log-level', 'BAD_VALUE', 2, 14],
  ['list-for-mapping', 'WRONG_TYPE', 1, 15],
  ['env-var-number', 'WRONG_TYPE', 3, 24],
  ['name-of-application', 'BAD_NAME', 2, 11],
  ['name-of-deployment', 'BAD_NAME', 2, 26],
  ['name-of-step', 'BAD_NAME', 3, 21],
  ['route-slash-at-the-end', 'BAD_ROUTE', 2, 19],
  ['route-of-the-daemon', 'BAD_ROUTE', 2, 19],
  ['model-without-path', 'MISSING_KEY', 4, 16],
  ['version-policy-twice', 'EXCLUSIVE_KEYS', 4, 61],
  ['provider-unknown', 'BAD_VALUE', 4, 55],
  ['session-misspelt', 'UNKNOWN_KEY', 4, 43],
  ['warmup-below-one', 'OUT_OF_RANGE', 4, 50],
  ['batching-of-sequences', 'NO_EFFECT', 5, 9],
  ['sequence-without-state', 'MISSING_KEY', 4, 43],
  ['sequence-state-empty', 'BAD_VALUE', 4, 44],
  ['sequence-state-without-output', 'MISSING_KEY', 4, 59],
  ['not-served-grpc', 'NOT_SERVED_YET', 2, 3],
  ['tls-key-alone', 'TLS_PAIR', 2, 3],
  ['tls-password-alone', 'TLS_PAIR', 2, 3],
  ['tls-from-afar', 'BAD_PATH', 3, 17],
  ['when-without-operator', 'BAD_CONDITION', 3, 53],
  ['model-multiplexed', 'NO_EFFECT', 5, 9],
  ['multiplexing-none', 'OUT_OF_RANGE', 6, 52],
  ['cache-of-a-model-varies', 'NO_EFFECT', 6, 26],
  ['cache-of-sequences', 'EXCLUSIVE_KEYS', 6, 5],
  ['cache-too-small', 'OUT_OF_RANGE', 6, 37],
  ['router-unknown', 'BAD_VALUE', 6, 41],
  ['step-model-of-item', 'ITEM_OUTSIDE_FOR_EACH', 7, 60],
  ['application-twice', 'DUPLICATE_NAME', 3, 12],
  ['deployment-twice', 'DUPLICATE_NAME', 2, 64],
  ['route-twice', 'DUPLICATE_ROUTE', 3, 29],
  ['port-twice', 'PORT_TWICE', 2, 23],
  ['port-of-the-admin-api', 'PORT_TWICE', 1, 22],
  ['token-needed', 'TOKEN_NEEDED', 1, 23],
  ['rolls-nothing', 'ROLLS_NOTHING', 6, 25],
  ['rolls-twice', 'EXCLUSIVE_KEYS', 7, 9],
  ['gpus-and-a-half', 'BAD_VALUE', 6, 39],
  ['nothing-to-run', 'NOTHING_TO_RUN', 3, 9],
  ['code-and-model', 'EXCLUSIVE_KEYS', 6, 9],
  ['options-twice', 'EXCLUSIVE_KEYS', 7, 9],
  ['code-from-afar', 'BAD_PATH', 4, 22],
  ['model-from-afar', 'BAD_PATH', 4, 16],
  ['two-colons', 'BAD_PATH', 4, 22],
  ['folder-from-afar', 'BAD_PATH', 2, 32],
  ['batch-never-full', 'BATCH_NEVER_FULL', 7, 36],
  ['batch-never-full-by-default', 'BATCH_NEVER_FULL', 6, 31],
  ['method-of-a-model', 'NO_EFFECT', 5, 20],
  ['window-and-target', 'NO_EFFECT', 6, 43],
  ['pad-of-code', 'NO_EFFECT', 6, 20],
  ['number-and-autoscaling', 'EXCLUSIVE_KEYS', 6, 9],
  ['external-and-autoscaling', 'EXCLUSIVE_KEYS', 7, 9],
  ['external-and-auto', 'EXCLUSIVE_KEYS', 7, 9],
  ['min-above-max', 'OUT_OF_RANGE', 6, 44],
  ['min-above-default-max', 'OUT_OF_RANGE', 6, 44],
  ['initial-outside', 'OUT_OF_RANGE', 6, 82],
  ['autoscaling-misspelt', 'UNKNOWN_KEY', 6, 30],
  ['policy-from-afar', 'BAD_PATH', 6, 56],
  ['policy-twice', 'EXCLUSIVE_KEYS', 7, 30],
  ['capacity-over-100', 'OUT_OF_RANGE', 1, 18],
  ['handle-is-init-arg', 'HANDLE_IS_INIT_ARG', 9, 45],
  ['model-that-calls', 'MODEL_CALLS', 8, 37],
  ['ingress-needed', 'INGRESS_NEEDED', 2, 5],
  ['ingress-unknown', 'UNKNOWN_DEPLOYMENT', 8, 22],
  ['call-unknown', 'UNKNOWN_DEPLOYMENT', 8, 51],
  ['call-cycle', 'CALL_CYCLE', 8, 37],
  ['call-of-itself', 'CALL_CYCLE', 6, 21],
  ['step-unknown', 'UNKNOWN_STEP', 8, 36],
  ['steps-in-a-circle', 'GRAPH_CYCLE', 8, 12],
];

const folder = new URL('fixtures/', import.meta.url);
const env = { DIGITS: '12345678' };

for (const [name, code, line, column] of MISTAKES) {
  t.test(`${name} is ${code} at ${line}:${column}`, async (t) => {
    const text = readFileSync(new URL(`${name}.bad.yaml`, folder));
    const { desired, diagnostics } = compile(text, { file: '/srv/config.yaml', env, exists: () => true });
    t.equal(desired, undefined);
    const errors = diagnostics.filter(({ severity }) => severity === 'error');
    t.match(errors[0], { code, line, column }, JSON.stringify(diagnostics, null, 2));
    // One slip of syntax may be met more than once.
    if (code !== 'YAML_SYNTAX') t.equal(errors.length, 1, JSON.stringify(errors, null, 2));
  });
}

t.test('every file with a mistake is in the table', async (t) => {
  const files = readdirSync(folder).filter((file) => file.endsWith('.bad.yaml'));
  t.same(files.sort(), MISTAKES.map(([name]) => `${name}.bad.yaml`).sort());
});
