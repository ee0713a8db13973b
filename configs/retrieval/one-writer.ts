/** Sees that one process at a time has a file: two would not see each other's changes, and overwrite them. */
import { randomBytes } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { basename, dirname, join } from 'node:path';

/** Of the path of a socket, in bytes, on Linux and macOS; what is longer would be cut off without a word. */
const LONGEST_PATH = 103;
/** What stands behind the name of the file in that of a socket: `.lock.`, eight digits, and `.new` until it listens. */
const LONGEST_ENDING = 18;
const HELD = 'held';

/**
 * Holds the file until it is closed. A process that dies lets go, however it dies: what holds is a socket that listens, and a socket file that
 * nobody listens on is one that was left behind.
 *
 * Each that wants the file listens under a name of its own first, and looks for others then: of two, one at least sees the other. Of those that
 * still look, the first by name goes on and the others give up, so that of several that begin together one has it. No name is used twice:
 * a file that is found dead stays dead, and may go.
 * @throws when another process has it
 */
export const holdAlone = async (file: string): Promise<AsyncDisposable> => {
  if (Buffer.byteLength(file) > LONGEST_PATH - LONGEST_ENDING)
    throw new Error(
      `expected \`file\` to have at most ${LONGEST_PATH - LONGEST_ENDING} bytes, got ${file}: name it relative to the folder of the config`,
    );
  let decide = (_isHeld: boolean): void => {};
  const decided = new Promise<boolean>((resolve) => {
    decide = resolve;
  });
  const server = createServer((socket) => {
    socket.on('error', () => {}); // who asked has gone
    decided.then((isHeld) => (isHeld ? socket.end(HELD) : socket.destroy()));
  });
  const path = `${file}.lock.${randomBytes(4).toString('hex')}`;
  await listen(server, `${path}.new`);
  server.unref();
  const letGo = async (): Promise<void> => {
    await rm(path, { force: true });
    decide(false);
    await new Promise((closed) => server.close(closed));
  };
  try {
    await rename(`${path}.new`, path); // one that has the name listens
    if (await isTaken(file, path))
      throw new Error(
        `${file} is held by another replica, and can have one only: expected \`num_replicas: 1\` and \`rolling_update: {max_surge: 0, …}\``,
      );
  } catch (error) {
    await letGo();
    throw error;
  }
  decide(true);
  return { [Symbol.asyncDispose]: letGo };
};

/** Whether another has the file, or is to have it rather than who listens at `own`. Removes what the dead have left. */
const isTaken = async (file: string, own: string): Promise<boolean> => {
  const start = `${basename(file)}.lock.`;
  const names = (await readdir(dirname(file))).filter(
    (name) => name.startsWith(start) && /^[0-9a-f]{8}$/.test(name.slice(start.length)),
  );
  for (const name of names.sort()) {
    if (name === basename(own)) continue;
    const answer = await ask(join(dirname(file), name), name < basename(own));
    if (answer === 'dead') await rm(join(dirname(file), name), { force: true });
    if (answer === 'taken') return true;
  }
  return false;
};

/**
 * @param goesFirst whether it is enough that it lives; otherwise waits until it has the file or has given up
 * @throws          where it cannot be told, as when it is another user's
 */
const ask = (path: string, goesFirst: boolean): Promise<'taken' | 'free' | 'dead'> =>
  new Promise((resolve, reject) => {
    let isConnected = false;
    const socket = connect(path, () => {
      isConnected = true;
      if (!goesFirst) return;
      socket.destroy();
      resolve('taken');
    });
    socket.once('data', () => {
      socket.destroy();
      resolve('taken');
    });
    socket.once('close', () => resolve('free'));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') resolve('dead');
      else if (isConnected || error.code === 'ENOENT') resolve('free');
      else reject(error);
    });
  });

const listen = (server: Server, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
