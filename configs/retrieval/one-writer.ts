/** Sees that one process at a time has a file: two would not see each other's changes, and overwrite them. */
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';

/** Of the path of a socket, in bytes, on Linux and macOS; what is longer would be cut off without a word. */
const LONGEST_PATH = 103;

/**
 * Holds the file until it is closed. A process that dies lets go, however it dies: what holds is a socket that listens, and a socket file that
 * nobody listens on is one that was left behind.
 * @throws when another process has it
 */
export const holdAlone = async (file: string): Promise<AsyncDisposable> => {
  const path = `${file}.lock`;
  if (Buffer.byteLength(path) > LONGEST_PATH)
    throw new Error(
      `expected \`file\` to have at most ${LONGEST_PATH - 5} bytes, got ${file}: name it relative to the folder of the config`,
    );
  if (await isAnswered(path))
    throw new Error(
      `${file} is held by another replica, and can have one only: expected \`num_replicas: 1\` and \`rolling_update: {max_surge: 0, …}\``,
    );
  await rm(path, { force: true });
  const server = createServer((socket) => socket.destroy());
  await listen(server, path);
  server.unref();
  return { [Symbol.asyncDispose]: () => new Promise((closed) => server.close(() => closed())) };
};

const isAnswered = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

const listen = (server: Server, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
