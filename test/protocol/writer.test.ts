import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { FrameWriter } from '../../src/protocol/writer.ts';

/** Ends of connections as replicas have them, over a Unix socket: what is written to one comes to the other. */
const pairs = async (count: number): Promise<{ ours: Socket[]; theirs: Socket[]; close: () => void }> => {
  const folder = mkdtempSync(join(tmpdir(), 'sd-writer-'));
  const path = join(folder, 'socket');
  const server = createServer();
  const theirs: Socket[] = [];
  server.on('connection', (socket) => theirs.push(socket));
  server.listen(path);
  await once(server, 'listening');
  const ours: Socket[] = [];
  for (let index = 0; index < count; index++) {
    const socket = connect(path);
    const accepted = once(server, 'connection');
    await Promise.all([once(socket, 'connect'), accepted]);
    ours.push(socket);
  }
  return {
    ours,
    theirs,
    close: () => {
      for (const socket of [...ours, ...theirs]) socket.destroy();
      server.close();
      rmSync(folder, { recursive: true });
    },
  };
};

const received = async (socket: Socket, bytes: number): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= bytes) break;
  }
  return Buffer.concat(chunks);
};

t.test('writers share their memory, and what the kernel could not take at once arrives as it was written', async (t) => {
  const { ours, theirs, close } = await pairs(4);
  t.teardown(close);
  const writers = ours.map((socket) => new FrameWriter(socket));
  const written = writers.map((): Buffer[] => []);
  // Nobody reads yet: the sockets fill up, each at its own time.
  for (let frame = 0; frame < 2000; frame++)
    for (const [index, writer] of writers.entries()) {
      const bytes = Buffer.alloc(8 * (1 + ((frame * 7 + index * 13) % 400)), (frame * 5 + index * 61) % 251);
      writer.write([bytes], frame % 3 === 0);
      written[index]?.push(bytes);
    }
  for (const writer of writers) writer.flush();
  t.ok(
    ours.some((socket) => socket.writableLength > 0),
    'more than the kernel takes',
  );
  for (const [index, socket] of theirs.entries()) {
    const expected = Buffer.concat(written[index] ?? []);
    const got = await received(socket, expected.length);
    t.ok(got.equals(expected), `writer ${index}: ${got.length} of ${expected.length} bytes`);
  }
});

t.test('what has all left costs no memory of its own, however many writers there were', async (t) => {
  const { ours, close } = await pairs(1);
  t.teardown(close);
  const socket = ours[0] as Socket;
  const memory = new Set<ArrayBufferLike>();
  for (let count = 0; count < 100; count++) {
    const writer = new FrameWriter(socket);
    writer.write([Buffer.alloc(64)]);
    memory.add(writer.reserve(8).bytes.buffer);
    writer.flush();
  }
  t.ok(memory.size <= 2, `${memory.size} pieces of memory`);
});
