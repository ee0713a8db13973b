/** What scales further than this machine goes is told at load. */
import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import { withDeployment } from './fixtures/rig.ts';

const machine = { cpus: 2, memoryBytes: 4 * 2 ** 30, gpus: [] };
const told = (deployment: string, top = '') =>
  compile(withDeployment(deployment, top), { file: '/srv/config.yaml', env: {}, exists: () => true, machine }).diagnostics.map(
    ({ severity, code, message }) => `${severity} ${code} ${message}`,
  );

t.test('num_replicas: auto goes up to 100, whatever machine this is: a warning', async (t) => {
  t.match(told('num_replicas: auto'), [/^warning DOES_NOT_FIT it scales up to 100 replicas, which reserve no CPU and share 2;/]);
  t.match(told('num_replicas: auto, ray_actor_options: {num_cpus: 0.5}'), [/up to 100 replicas, and 4 fit this machine/]);
  t.match(told('num_replicas: auto, ray_actor_options: {memory: 1GiB, num_cpus: 0.1}'), [/and 4 fit/]);
});

t.test('a bound that fits, or an offer that does, is no reason to say anything', async (t) => {
  t.same(told('num_replicas: auto, autoscaling_config: {max_replicas: 8}'), []);
  t.same(told('num_replicas: auto, max_replicas_per_node: 8'), []);
  t.same(told('num_replicas: auto, autoscaling_config: {max_replicas: 4}, ray_actor_options: {num_cpus: 0.5}'), []);
  t.same(told('num_replicas: auto', 'resources: {num_cpus: 16}\n'), []);
  t.same(told('num_replicas: 30'), [], 'a number is what somebody wants');
});
