/** How a replica proves on its sockets who it is: what it was given at its start, signed with a key that never leaves the daemon. */
import { createHmac, timingSafeEqual } from 'node:crypto';

export interface ReplicaIdentity {
  readonly replica: string;
  /** `application/Deployment`. */
  readonly deployment: string;
  readonly version: string;
}

const sign = (key: string, payload: string): Buffer => createHmac('sha256', key).update(payload).digest();

export const makeToken = (key: string, identity: ReplicaIdentity): string => {
  const payload = Buffer.from(JSON.stringify([identity.replica, identity.deployment, identity.version])).toString('base64url');
  return `${payload}.${sign(key, payload).toString('base64url')}`;
};

/** Undefined for a token that this daemon did not make. */
export const readToken = (key: string, token: unknown): ReplicaIdentity | undefined => {
  if (typeof token !== 'string') return undefined;
  const [payload = '', signature = ''] = token.split('.');
  const expected = sign(key, payload);
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const [replica, deployment, version] = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as [
    string,
    string,
    string,
  ];
  return { replica, deployment, version };
};
