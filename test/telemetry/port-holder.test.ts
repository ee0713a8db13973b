import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { listeners, portHolder } from '../../src/telemetry/port-holder.ts';

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 501 1 0000000000000000 100 0 0 10 0
   1: 00000000:2049 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 502 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F40 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 503 1 0000000000000000 20 4 30 10 -1
`;

t.test('only a listener on that port and address is in the way', async (t) => {
  t.same(listeners(TABLE, '127.0.0.1', 8000), ['501']);
  t.same(listeners(TABLE, '0.0.0.0', 8000), ['501']);
  t.same(listeners(TABLE, 'localhost', 8000), ['501']);
  t.same(listeners(TABLE, '127.0.0.2', 8000), []);
  t.same(listeners(TABLE, '127.0.0.2', 8265), ['502']);
  t.same(listeners(TABLE, '127.0.0.1', 8001), []);
  t.same(listeners('', '127.0.0.1', 8000), []);
  t.same(listeners('no\ntable: at all', '127.0.0.1', 8000), []);
});

t.test('the process is told by its command, shortened', async (t) => {
  const proc = mkdtempSync(join(tmpdir(), 'sd-proc-'));
  t.teardown(() => rmSync(proc, { recursive: true }));
  const processOf = (pid: number, cmdline: string, socket: string) => {
    mkdirSync(join(proc, `${pid}`, 'fd'), { recursive: true });
    writeFileSync(join(proc, `${pid}`, 'cmdline'), cmdline);
    writeFileSync(join(proc, `${pid}`, 'comm'), 'short\n');
    symlinkSync(socket, join(proc, `${pid}`, 'fd', '3'));
  };
  mkdirSync(join(proc, 'net'));
  writeFileSync(join(proc, 'net', 'tcp'), TABLE);
  t.equal(portHolder('127.0.0.1', 8000, proc), undefined, 'one whose files may not be read');
  processOf(41, 'other\0', 'socket:[502]');
  processOf(42, `/usr/bin/python3\0-m\0${'x'.repeat(60)}\0--password=secret\0`, 'socket:[501]');
  t.same(portHolder('127.0.0.1', 8000, proc), { pid: 42, command: `python3 -m …${'x'.repeat(39)}` });
  writeFileSync(join(proc, '42', 'cmdline'), 'ray::Proxy\x1b[2J Actor\0');
  t.equal(portHolder('127.0.0.1', 8000, proc)?.command, 'ray::Proxy?[2J Actor');
  writeFileSync(join(proc, '42', 'cmdline'), '');
  t.equal(portHolder('127.0.0.1', 8000, proc)?.command, 'short');
  t.equal(portHolder('127.0.0.1', 8000, join(proc, 'nowhere')), undefined);
});

t.test('a real listener is found', { skip: process.platform !== 'linux' }, async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  t.equal(portHolder('127.0.0.1', port, '/proc', 60_000)?.pid, process.pid);
  t.equal(portHolder('127.0.0.1', port, '/proc', -1), undefined, 'where the time is over');
  await new Promise((resolve) => server.close(resolve));
  t.equal(portHolder('127.0.0.1', port), undefined);
});
