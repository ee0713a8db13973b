/** `POST /api/v1/applications/{application}/deployments/{deployment}/scale`: an external scaler sets a number of replicas, as in Ray Serve. */
import { AdminError, type Route } from './route.ts';

/** What became of it; an `unknown` one is not in the config, a `leaving` one is on its way out. */
export type ScaleOutcome = 'accepted' | 'unknown' | 'leaving' | 'disabled';
export type Scale = (application: string, deployment: string, replicas: number) => ScaleOutcome;

const MAX_BODY_BYTES = 4096;
/** As many as `num_replicas` may say. */
const MAX_REPLICAS = 1000;

export const scaleRoute = (scale: Scale): Route => ({
  method: 'POST',
  path: '/api/v1/applications/:application/deployments/:deployment/scale',
  handle: ({ params: { application = '', deployment = '' }, body }) => {
    const replicas = replicasOf(body);
    const name = `deployment ${deployment} of application ${application}`;
    switch (scale(application, deployment, replicas)) {
      case 'accepted':
        return { status: 200, body: { message: `${name} is to have ${replicas} replicas; it gets there by itself` } };
      case 'unknown':
        throw new AdminError(400, `there is no ${name}`);
      case 'leaving':
        throw new AdminError(412, `${name} is being removed`);
      case 'disabled':
        throw new AdminError(412, `${name} takes no external scaler: set \`external_scaler_enabled: true\` for the application`);
    }
  },
});

/** @throws AdminError */
const replicasOf = (text: Uint8Array): number => {
  const expected = `expected a body {"target_num_replicas": <0 to ${MAX_REPLICAS}>}`;
  let body: unknown;
  try {
    body = text.length > MAX_BODY_BYTES ? undefined : JSON.parse(Buffer.from(text).toString());
  } catch {
    throw new AdminError(400, `${expected}, got what is no JSON`);
  }
  const replicas =
    typeof body === 'object' && body !== null ? (body as Record<string, unknown>)['target_num_replicas'] : undefined;
  if (typeof replicas === 'number' && Number.isInteger(replicas) && replicas >= 0 && replicas <= MAX_REPLICAS) return replicas;
  throw new AdminError(400, `${expected}, got ${JSON.stringify(replicas) ?? 'none'}`);
};
