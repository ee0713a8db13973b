/** What Ray Serve refuses is refused here, at its place; and what Ray Serve takes in silence although it is a mistake is refused too. */
import t from 'tap';
import { codes, compiled, withDeployment } from './fixtures/rig.ts';

const app = (text: string) => `applications:\n  - {deployments: [{name: A, import_path: ./a.ts}], ${text}}\n`;
const top = (text: string) => `${text}\n${app('name: a')}`;

const refused: readonly (readonly [what: string, text: string, code: string, message: RegExp])[] = [
  ['another proxy_location', top('proxy_location: Head'), 'BAD_VALUE', /`EveryNode`, `HeadOnly`(,| or) `Disabled`/],
  ['the host in an application', app('host: 0.0.0.0'), 'UNKNOWN_KEY', /it belongs .*http_options/],
  ['an empty name', app('name: ""'), 'BAD_NAME', /name/],
  ['an import path without an export behind its colon', app('import_path: "a:b:c"'), 'BAD_PATH', /export/],
  ['a route without a slash', app('route_prefix: abc'), 'BAD_ROUTE', /`\/`/],
  ['a route with a pattern', app('route_prefix: "/{x}"'), 'BAD_ROUTE', /got/],
  ['args that are no mapping', app('args: [1]'), 'WRONG_TYPE', /mapping/],
  ['a number of replicas in words', withDeployment('num_replicas: two'), 'BAD_VALUE', /`auto`/],
  ['a number of replicas with a point', withDeployment('num_replicas: 2.5'), 'WRONG_TYPE', /integer|whole/],
  ['no slot at all', withDeployment('max_ongoing_requests: 0'), 'OUT_OF_RANGE', /≥ 1/],
  ['a queue as a text', withDeployment('max_queued_requests: "5"'), 'WRONG_TYPE', /integer|whole/],
  ['another status for a full queue', withDeployment('backpressure_config: {status_code: 500}'), 'BAD_VALUE', /503/],
  ['a typo in backpressure_config', withDeployment('backpressure_config: {retry_after: 1}'), 'UNKNOWN_KEY', /retry_after_s/],
  ['a rollout of nothing', withDeployment('rolling_update_percentage: 0'), 'OUT_OF_RANGE', /above 0 and at most 1/],
  ['a rollout of more than all', withDeployment('rolling_update_percentage: 1.5'), 'OUT_OF_RANGE', /above 0 and at most 1/],
  ['no replica on this node', withDeployment('max_replicas_per_node: 0'), 'OUT_OF_RANGE', /from 1 to 100/],
  ['too many replicas on a node', withDeployment('max_replicas_per_node: 101'), 'OUT_OF_RANGE', /from 1 to 100/],
  ['a level that is none', withDeployment('logging_config: {log_level: FOO}'), 'BAD_VALUE', /DEBUG/],
  ['a typo in logging_config', withDeployment('logging_config: {level: INFO}'), 'UNKNOWN_KEY', /log_level/],
  ['a health check without a period', withDeployment('health_check_period_s: 0'), 'OUT_OF_RANGE', /above 0/],
  ['a grace below none', withDeployment('graceful_shutdown_timeout_s: -1'), 'OUT_OF_RANGE', /≥ 0/],
  // Ray Serve drops these in silence.
  ['a key that nobody knows', top('foo: 1'), 'UNKNOWN_KEY', /foo/],
  ['a name of earlier versions', withDeployment('max_concurrent_queries: 5'), 'UNKNOWN_KEY', /max_ongoing_requests/],
  ['a typo in autoscaling_config', withDeployment('autoscaling_config: {max_replica: 5}'), 'UNKNOWN_KEY', /max_replicas/],
];

for (const [what, text, code, message] of refused) {
  t.test(`${what} is refused`, async (t) => {
    const { desired, diagnostics } = compiled(text);
    t.equal(desired, undefined);
    t.match(diagnostics, [{ severity: 'error', code, message }]);
  });
}

t.test('applications without a route may be many', async (t) => {
  const each = (name: string) => `  - {name: ${name}, route_prefix: null, deployments: [{name: A, import_path: ./a.ts}]}\n`;
  t.same(codes(compiled(`applications:\n${each('a')}${each('b')}`)), []);
});
