/** What a config says of the daemon itself, put into force while it runs. Of its HTTP listener the data plane takes care. */
import type { AdminListener } from './admin/listener.ts';
import type { HttpListening } from './control/http-listening.ts';
import type { DesiredState } from './domain/desired.ts';
import type { LogRules } from './domain/logging.ts';
import type { Opened } from './open.ts';

export interface Settings {
  readonly admin: AdminListener;
  readonly opened: Pick<Opened, 'log' | 'plane' | 'enforcer'>;
  readonly logging: LogRules;
  readonly http: HttpListening;
}

export const configureDaemon = async (settings: Settings, before: DesiredState, after: DesiredState): Promise<void> => {
  const { admin, logging, http } = settings;
  const { log, plane, enforcer } = settings.opened;
  const { logger } = log;
  try {
    if (await admin.configure(after.admin)) logger.info({ url: admin.url }, 'admin API is up');
  } catch (error) {
    logger.error({ error: (error as Error).message }, 'the admin API stays where it was');
  }
  if (before.resources.enforce !== after.resources.enforce) {
    const why = enforcer.set(after.resources.enforce);
    if (why !== undefined) logger.warn({ enforce: after.resources.enforce }, why);
  }
  await log.configure(logging);
  if (before.logging.encoding !== after.logging.encoding) plane.encodeAccessLog(log.encoding);
  const raised = after.proxy.maxHeaderBytes > Number(process.env.UWS_HTTP_MAX_HEADERS_SIZE);
  if (before.proxy.maxHeaderBytes !== after.proxy.maxHeaderBytes && raised && http.at?.driver === 'uWebSockets.js')
    logger.warn('http_options.max_header_size can be raised from the next start on only: uWebSockets.js reads it once');
};
