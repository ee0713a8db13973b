/** The daemon's end of a replica's socket until it has said who it is: a listener on a Unix socket that lets nobody else in. */
import { createServer, type Server, type Socket } from 'node:net';
import { FRAME, type Frame, PROTOCOL_VERSION, ProtocolError } from './frame.ts';
import { FrameReader } from './reader.ts';
import { type ReplicaIdentity, readToken } from './token.ts';

/** Longest frame that a replica may send. */
export const MAX_REPLICA_FRAME_BYTES = 1024 ** 3;
const HELLO_WITHIN_MS = 5000;
/** Nothing but a HELLO is expected before it: an unknown peer gets no memory. */
const MAX_HELLO_BYTES = 65_536;

/**
 * @param admitted called once for each socket whose HELLO was good; from then on its `data` events are the receiver's, and `reader` (with
 *   the limit for known peers) holds what came behind the HELLO
 */
export const listenForReplicas = async (
  path: string,
  key: string,
  admitted: (identity: ReplicaIdentity, socket: Socket, reader: FrameReader) => void,
  refused: (reason: string) => void,
): Promise<Server> => {
  const server = createServer((socket) => {
    const refuse = (reason: string) => {
      refused(reason);
      socket.destroy();
    };
    const timer = setTimeout(() => refuse('it said nothing'), HELLO_WITHIN_MS);
    const hello = new FrameReader(MAX_HELLO_BYTES);
    const onError = () => socket.destroy();
    const onClose = () => clearTimeout(timer);
    const onData = (chunk: Buffer) => {
      try {
        hello.push(chunk, (frame) => {
          clearTimeout(timer);
          const identity = identityOf(frame, key);
          if (typeof identity === 'string') return refuse(identity);
          socket.off('data', onData);
          socket.off('error', onError);
          socket.off('close', onClose);
          admitted(identity, socket, new FrameReader(MAX_REPLICA_FRAME_BYTES));
        });
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        refuse(error.message);
      }
    };
    socket.on('error', onError);
    socket.on('close', onClose);
    socket.on('data', onData);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return server;
};

const identityOf = (frame: Frame, key: string): ReplicaIdentity | string => {
  if (frame.type !== FRAME.HELLO) return 'its first frame was no HELLO';
  if (frame.meta['protocol'] !== PROTOCOL_VERSION)
    return `it speaks protocol ${String(frame.meta['protocol'])}, not ${PROTOCOL_VERSION}`;
  return readToken(key, frame.meta['token']) ?? 'its token is not one of this daemon';
};
