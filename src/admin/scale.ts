/** `POST /api/v1/applications/{application}/deployments/{deployment}/scale`: an external scaler sets a number of replicas, as in Ray Serve. */
import type { IncomingMessage } from 'node:http';

/** What became of it; an `unknown` one is not in the config, a `leaving` one is on its way out. */
export type ScaleOutcome = 'accepted' | 'unknown' | 'leaving' | 'disabled';
export type Scale = (application: string, deployment: string, replicas: number) => ScaleOutcome;

export interface ScaleAnswer {
  readonly status: number;
  readonly body: { readonly message: string } | { readonly error: string };
}

const PATH = /^\/api\/v1\/applications\/([^/]+)\/deployments\/([^/]+)\/scale\/?$/;
const MAX_BODY_BYTES = 4096;
/** As many as `num_replicas` may say. */
const MAX_REPLICAS = 1000;

export const isScalePath = (path: string): boolean => PATH.test(path);

export const answerScale = async (path: string, request: IncomingMessage, scale: Scale): Promise<ScaleAnswer> => {
  const [, application = '', deployment = ''] = PATH.exec(path) ?? [];
  const replicas = replicasOf(await read(request));
  if (typeof replicas === 'string') return { status: 400, body: { error: replicas } };
  const name = `deployment ${deployment} of application ${application}`;
  switch (scale(application, deployment, replicas)) {
    case 'accepted':
      return { status: 200, body: { message: `${name} is to have ${replicas} replicas; it gets there by itself` } };
    case 'unknown':
      return { status: 400, body: { error: `there is no ${name}` } };
    case 'leaving':
      return { status: 412, body: { error: `${name} is being removed` } };
    case 'disabled':
      return {
        status: 412,
        body: { error: `${name} takes no external scaler: set \`external_scaler_enabled: true\` for the application` },
      };
  }
};

/** @returns undefined when it is longer than any good one */
const read = async (request: IncomingMessage): Promise<string | undefined> => {
  let text: string | undefined = '';
  // Read to its end all the same: who still writes does not read the answer.
  for await (const chunk of request.setEncoding('utf8')) {
    if (text !== undefined && text.length + chunk.length <= MAX_BODY_BYTES) text += chunk;
    else text = undefined;
  }
  return text;
};

/** @returns a text: what is wrong with the body */
const replicasOf = (text: string | undefined): number | string => {
  const expected = `expected a body {"target_num_replicas": <0 to ${MAX_REPLICAS}>}`;
  try {
    const body: unknown = JSON.parse(text ?? '');
    const replicas =
      typeof body === 'object' && body !== null ? (body as Record<string, unknown>)['target_num_replicas'] : undefined;
    const isCount = typeof replicas === 'number' && Number.isInteger(replicas) && replicas >= 0 && replicas <= MAX_REPLICAS;
    return isCount ? replicas : `${expected}, got ${JSON.stringify(replicas) ?? 'none'}`;
  } catch {
    return `${expected}, got what is no JSON`;
  }
};
