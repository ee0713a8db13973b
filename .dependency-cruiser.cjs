/** The arrows of docs/architecture: who may import whom. */
const layer = (name, from, to) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: { path: '^src/', pathNot: `${from}|${to.join('|')}` },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: { path: '^src/' }, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    layer('domain-imports-nothing', '^src/domain/', ['^src/domain/']),
    layer('protocol-imports-domain', '^src/protocol/', ['^src/domain/']),
    layer('graph-is-pure', '^src/graph/', ['^src/domain/', '^src/protocol/(value|http-value|codec|tensor)']),
    layer('scaling-is-pure', '^src/scaling/', ['^src/domain/']),
    layer('verdict-is-pure', '^src/verdict/', ['^src/domain/']),
    layer('config-meets-others-in-the-domain', '^src/config/', ['^src/domain/', '^src/graph/', '^src/quota/(amounts|offer|ledger)']),
    layer('quota', '^src/quota/', ['^src/domain/']),
    layer('batching-is-pure', '^src/batching/', ['^src/domain/']),
    layer('dispatch', '^src/dispatch/', ['^src/domain/', '^src/protocol/', '^src/batching/']),
    layer('proxy', '^src/proxy/', ['^src/domain/', '^src/protocol/', '^src/dispatch/', '^src/graph/', '^src/loop-watch', '^src/version']),
    layer('control', '^src/control/', ['^src/domain/', '^src/protocol/', '^src/quota/', '^src/scaling/', '^src/verdict/', '^src/(version|young-space)']),
    layer('replica', '^src/replica/', ['^src/domain/', '^src/protocol/', '^src/sdk/']),
    layer('sdk', '^src/sdk/', ['^src/domain/', '^src/protocol/', '^src/batching/', '^src/local/application']),
    layer('local', '^src/local/', [
      '^src/(domain|protocol|dispatch|proxy|replica|sdk)/',
      '^src/config/compile',
      '^src/control/(snapshot|target)',
    ]),
    {
      name: 'sdk-loads-what-runs-tests-when-asked',
      severity: 'error',
      from: { path: '^src/sdk/' },
      to: { path: '^src/local/', dynamic: false },
    },
    layer('telemetry', '^src/telemetry/', ['^src/domain/']),
    layer('admin', '^src/admin/', ['^src/domain/', '^src/control/(status|reloader|history|events|verdict-record)', '^src/version']),
    {
      name: 'pure-cores-import-no-shells',
      severity: 'error',
      from: { path: '^src/(domain|graph|scaling|batching|verdict)/|^src/dispatch/(again|answer-(fate|key|memory|store)|batcher|choose|drop|fifo|lane|priority|sequences|stack)|^src/control/(answers-from|plan|progress|restart|rollout|room|snapshot|status|target|difference|fields|judged-splits)|^src/quota/(amounts|offer|ledger)|^src/proxy/(route-table|error-answer|access-log|model-list|inference-(route|models|stats|parameters))|^src/protocol/(value|codec|frame|http-value|exact-json|messages|onnx-file|inference-path|run-report|datatypes)' },
      to: { path: '^(node:)?(fs|child_process|net|http|worker_threads|os)(/|$)' },
    },
  ],
  options: { tsPreCompilationDeps: true, tsConfig: { fileName: 'tsconfig.json' }, doNotFollow: { path: 'node_modules' } },
};
