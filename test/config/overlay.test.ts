import t from 'tap';
import { overlay } from '../../src/config/overlay.ts';

/** With prototypes, whose absence tap would tell. */
const over = (under: object, upper: object): object => JSON.parse(JSON.stringify(overlay({ ...under }, { ...upper })));

t.test('what is said wins; of a section each field for itself, and null takes it away', async (t) => {
  t.same(over({ num_replicas: 2, batching: { max_batch_size: 8 } }, { num_replicas: 3 }), {
    num_replicas: 3,
    batching: { max_batch_size: 8 },
  });
  t.same(over({ batching: { max_batch_size: 8, max_concurrent_batches: 2 } }, { batching: { max_batch_size: 4 } }), {
    batching: { max_batch_size: 4, max_concurrent_batches: 2 },
  });
  t.same(over({ batching: { max_batch_size: 8 } }, { batching: null }), { batching: null });
  t.same(over({ batching: null }, { batching: { max_batch_size: 8 } }), { batching: { max_batch_size: 8 } });
});

t.test('a value in a section is taken whole', async (t) => {
  t.same(
    over(
      { model: { version_policy: { specific: [1] }, session: { inter_op_num_threads: 2 } } },
      { model: { version_policy: { latest: 2 } } },
    ),
    { model: { version_policy: { latest: 2 }, session: { inter_op_num_threads: 2 } } },
  );
});

t.test('who says a thing one way takes back what was said another way', async (t) => {
  const rows: readonly (readonly [object, object, object])[] = [
    [{ autoscaling_config: { max_replicas: 3 } }, { num_replicas: 2 }, { num_replicas: 2 }],
    [{ num_replicas: 2 }, { autoscaling_config: { max_replicas: 3 } }, { autoscaling_config: { max_replicas: 3 } }],
    [
      { num_replicas: 'auto' },
      { autoscaling_config: { max_replicas: 3 } },
      { num_replicas: 'auto', autoscaling_config: { max_replicas: 3 } },
    ],
    [
      { autoscaling_config: { max_replicas: 3 } },
      { num_replicas: 'auto' },
      { num_replicas: 'auto', autoscaling_config: { max_replicas: 3 } },
    ],
    [{ batching: { latency_target_s: 1 } }, { batching: { batch_wait_timeout_s: 2 } }, { batching: { batch_wait_timeout_s: 2 } }],
    [{ rolling_update: { max_surge: 1 } }, { rolling_update_percentage: 0.5 }, { rolling_update_percentage: 0.5 }],
    [{ replica_options: { num_cpus: 1 } }, { ray_actor_options: { num_cpus: 2 } }, { ray_actor_options: { num_cpus: 2 } }],
  ];
  for (const [under, upper, expected] of rows) t.same(over(under, upper), expected);
});

t.test('names such as __proto__ are names like any other', async (t) => {
  const under = JSON.parse('{"logging_config": {"__proto__": {"x": 1}}}');
  t.same(Object.keys(overlay(under, { logging_config: { log_level: 'INFO' } }).logging_config as object), [
    '__proto__',
    'log_level',
  ]);
  t.equal(({} as { x?: unknown }).x, undefined);
});
