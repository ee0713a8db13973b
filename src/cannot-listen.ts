/** Why a listener cannot be had, who has its port, and which key to change. */
import type { DesiredState } from './domain/desired.ts';
import { listenText } from './telemetry/listen-text.ts';
import { portHolder } from './telemetry/port-holder.ts';

/** @param code the system's, or a text where there is none */
export const cannotListen = (section: 'http_options' | 'admin_options', host: string, port: number, code: string): string =>
  listenText({ section, host, port, code, holder: () => portHolder(host, port), platform: process.platform });

/** @param failure without a code of the system it is not the address that is wrong */
export const cannotListenForHttp = (
  { host, port }: DesiredState['proxy'],
  failure: { readonly code: string; readonly message: string },
): string => (failure.code === 'UNKNOWN' ? failure.message : cannotListen('http_options', host, port, failure.code));
