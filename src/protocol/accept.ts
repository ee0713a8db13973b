/** The daemon's end of a replica's socket until it has said who it is: a listener on a Unix socket that lets nobody else in. */
import { createServer, type Server, type Socket } from 'node:net';
import { FRAME, type Frame, PROTOCOL_VERSION } from './frame.ts';
import { FrameReader } from './reader.ts';
import { BEGUN_ONLY, FROM_REPLICA } from './short-forms.ts';
import { type ReplicaIdentity, readToken } from './token.ts';

/** What a socket is for, as its HELLO says. */
export interface Purpose {
  /** It carries nothing but BEGUN. */
  readonly begun: boolean;
  /** Its peer takes the short forms of frames. */
  readonly brief: boolean;
  /** It takes WebSockets. */
  readonly websockets: boolean;
  /** It takes bodies in pieces. */
  readonly bodies: boolean;
  /** It takes the mark of TLS in the short form. */
  readonly secure: boolean;
  /** It takes the short forms of what carries a value. */
  readonly briefValues: boolean;
}

/** Longest frame that a replica may send. */
export const MAX_REPLICA_FRAME_BYTES = 1024 ** 3;
const MAX_BEGUN_FRAME_BYTES = 1024 ** 2;
const HELLO_WITHIN_MS = 5000;
/** Nothing but a HELLO is expected before it: an unknown peer gets no memory. */
const MAX_HELLO_BYTES = 65_536;

/**
 * @param admitted called once for each socket whose HELLO was good; from then on its `data` events are the receiver's, for `reader`, which
 *   has the limit for known peers
 */
export const listenForReplicas = async (
  path: string,
  key: string,
  admitted: (identity: ReplicaIdentity, socket: Socket, reader: FrameReader, purpose: Purpose) => void,
  refused: (reason: string) => void,
): Promise<Server> => {
  // A socket that is paused takes no more from the kernel than one read.
  const server = createServer({ highWaterMark: 1 }, (socket) => {
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
        const frames: Frame[] = [];
        hello.push(chunk, (frame) => frames.push(frame));
        const [first, second] = frames;
        if (first === undefined) return;
        clearTimeout(timer);
        const identity =
          second === undefined && hello.between ? identityOf(first, key) : 'it sent more before its HELLO was answered';
        if (typeof identity === 'string') return refuse(identity);
        socket.off('data', onData);
        socket.off('error', onError);
        socket.off('close', onClose);
        const purpose: Purpose = {
          begun: first.meta['link'] === 'begun',
          brief: first.meta['brief'] === true,
          websockets: first.meta['websockets'] === true,
          bodies: first.meta['bodies'] === true,
          secure: first.meta['secure'] === true,
          briefValues: first.meta['briefValues'] === true,
        };
        admitted(identity, socket, readerFor(purpose), purpose);
      } catch (error) {
        // Whatever it is: what a stranger sends must not end the daemon.
        refuse((error as Error).message);
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

/** What reads a connection once it is known who is at its other end. */
export const readerFor = ({ begun }: Pick<Purpose, 'begun'>): FrameReader =>
  begun ? new FrameReader(MAX_BEGUN_FRAME_BYTES, BEGUN_ONLY) : new FrameReader(MAX_REPLICA_FRAME_BYTES, FROM_REPLICA);

const identityOf = (frame: Frame, key: string): ReplicaIdentity | string => {
  if (frame.type !== FRAME.HELLO) return 'its first frame was no HELLO';
  const { protocol, token, replica } = frame.meta;
  if (protocol !== PROTOCOL_VERSION) return `it speaks protocol ${JSON.stringify(protocol)}, not ${PROTOCOL_VERSION}`;
  const identity = readToken(key, token);
  if (identity === undefined) return 'its token is not one of this daemon';
  return replica === identity.replica ? identity : 'its token is that of another replica';
};
