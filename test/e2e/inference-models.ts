/** Models that the tests of the Open Inference Protocol serve. */
import { addModel, type Element, identityModel, onnxModel, type WrittenPort } from '../support/onnx-writer.ts';
import { configOf, HEAD } from './configs.ts';

const port = (name: string, element: Element, shape: WrittenPort['shape']): WrittenPort => ({ name, element, shape });

/** `y = x + [10, 20]`; `pair`: two inputs of other dtypes, turned into others. */
export const MODELS: Readonly<Record<string, Uint8Array>> = {
  add: addModel([10, 20]),
  half: identityModel('float16', ['n', 2]),
  texts: identityModel('string', ['n']),
  truth: identityModel('bool', ['n']),
  doubles: identityModel('float64', ['n']),
  longs: identityModel('int64', ['n']),
  ulongs: identityModel('uint64', ['n']),
  bytes: identityModel('uint8', ['n']),
  scalar: identityModel('int32', []),
  open: identityModel('float32', null),
  // Fails for an index beyond the last of its four numbers, and all that run with it.
  pick: onnxModel({
    inputs: [port('x', 'int64', ['n'])],
    outputs: [port('y', 'float32', ['n'])],
    nodes: [{ op: 'Gather', inputs: ['four', 'x'], outputs: ['y'] }],
    constants: [{ name: 'four', shape: [4], values: [10, 20, 30, 40] }],
  }),
  fixed: identityModel('float32', [2, 3]),
  free: identityModel('float32', ['n', 'm', 'k']),
  pair: onnxModel({
    inputs: [port('a', 'int64', ['n', 2]), port('b', 'string', ['n'])],
    outputs: [port('b2', 'string', ['n']), port('a2', 'float32', ['n', 2]), port('a3', 'bool', ['n', 2])],
    nodes: [
      { op: 'Identity', inputs: ['b'], outputs: ['b2'] },
      { op: 'Cast', inputs: ['a'], outputs: ['a2'], attributes: { to: 1 } },
      { op: 'Cast', inputs: ['a'], outputs: ['a3'], attributes: { to: 9 } },
    ],
  }),
};

export const FILES = Object.fromEntries(Object.entries(MODELS).map(([name, model]) => [`${name}.onnx`, model]));

/** Some of them in one application, and an echo beside them. */
export const modelsConfig = (
  server: 'uws' | 'node',
  more: Readonly<Record<string, object>> = {},
  names: readonly string[] = Object.keys(MODELS),
): string =>
  configOf(
    [
      {
        name: 'models',
        route_prefix: '/models',
        deployments: names.map((name) => ({ name, model: `./${name}.onnx`, ...more[name] })),
        graph: { ingress: names[0] },
      },
      { name: 'echo', route_prefix: '/', deployments: [{ name: 'Echo', import_path: './echo.ts:echo' }] },
    ],
    HEAD.replace('port: 0}', `port: 0, server: ${server}, max_request_body: 1MiB}`),
  );
