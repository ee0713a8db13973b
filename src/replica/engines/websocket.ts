/** Serves one WebSocket by the methods of a class: `upgrade` may refuse it or choose a subprotocol, `websocket` has it until it returns. */
import { ServeError } from '../../domain/errors.ts';
import { CLOSE_CODE, offeredProtocols } from '../../protocol/websocket.ts';
import type { CallContext } from '../../sdk/index.ts';
import type { IncomingCall, Reply } from '../engine.ts';

type Method = (...args: unknown[]) => unknown;

/** @throws what `upgrade` throws: the client gets it as the answer to its request; ServeError where the class takes no WebSockets */
export const serveWebSocket = async (
  instance: Readonly<Record<string, unknown>>,
  call: IncomingCall,
  context: CallContext,
  reply: Reply,
): Promise<void> => {
  const { websocket, upgrade } = instance;
  if (typeof websocket !== 'function')
    throw new ServeError(
      'INVALID_INPUT',
      `No WebSockets here: the ingress ${context.application}/${context.deployment} has no method \`websocket\`.`,
    );
  const protocol = typeof upgrade === 'function' ? chosen(await (upgrade as Method).call(instance, context), call) : undefined;
  const socket = reply.accept(call, protocol);
  try {
    await (websocket as Method).call(instance, socket, context);
    socket.close(CLOSE_CODE.NORMAL);
    reply.end(call);
  } catch (error) {
    // The client has gone, and `send` or the signal said so: that is no failure of the code.
    if (socket.closeCode !== undefined && error instanceof ServeError && error.code === 'CLIENT_CLOSED') reply.end(call);
    else reply.error([call], error);
  }
};

/** @throws ServeError for what the client did not offer */
const chosen = (protocol: unknown, { http }: IncomingCall): string | undefined => {
  if (protocol === undefined || protocol === null) return undefined;
  const offered = offeredProtocols(http?.headers ?? []);
  if (typeof protocol === 'string' && offered.includes(protocol)) return protocol;
  throw new ServeError(
    'USER_ERROR',
    `expected \`upgrade\` to return nothing or a subprotocol that the client offered (${offered.join(', ') || 'none'}), got ${JSON.stringify(protocol)}`,
  );
};
