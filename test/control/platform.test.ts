import t from 'tap';
import { killReplica } from '../../src/control/kill.ts';
import { meansOf, socketPath } from '../../src/control/platform.ts';

const with_ =
  (...paths: string[]) =>
  (path: string) =>
    paths.includes(path) ? path : undefined;

t.test('Linux with util-linux lacks nothing', async (t) => {
  t.same(meansOf({ name: 'linux', find: with_('/usr/bin/setpriv', '/bin/chrt', '/proc/self') }), {
    endsWithUs: ['/usr/bin/setpriv', '--pdeathsig', 'KILL'],
    prefix: ['/usr/bin/setpriv', '--pdeathsig', 'KILL', '/bin/chrt', '--batch', '0'],
    groups: true,
    missing: [],
  });
});

t.test('what a platform lacks is said, and replicas are started without it', async (t) => {
  const musl = meansOf({ name: 'linux', find: with_('/bin/chrt', '/proc/self') });
  t.same(musl.prefix, ['/bin/chrt', '--batch', '0']);
  t.match(musl.missing, [/^no setpriv of util-linux: a replica that is stuck outlives a daemon that is killed/]);
  t.equal(musl.missing.length, 1);
  const alpine = meansOf({ name: 'linux', find: (path) => (path.startsWith('/proc') ? path : '/bin/busybox') });
  t.same(alpine.prefix, [], 'BusyBox has programs of these names that do not know the options');
  const mac = meansOf({ name: 'darwin', find: with_() });
  t.match(mac, { prefix: [], groups: true, missing: [/^no setpriv/, /^no \/proc/] });
  const windows = meansOf({ name: 'win32', find: with_() });
  t.match(windows, { prefix: [], groups: false, missing: [/^no setpriv/, /^no signals: .* taskkill/] });
  t.equal(windows.missing.length, 2);
});

t.test('a replica is ended with what it started, where there are groups and where there are none', async (t) => {
  const did: string[] = [];
  const means = (groups: boolean, code?: string) => ({
    groups,
    kill: (pid: number, signal: string) => {
      did.push(`kill ${pid} ${signal}`);
      if (code !== undefined) throw Object.assign(new Error(code), { code });
    },
    taskkill: (pid: number) => void did.push(`taskkill ${pid}`),
  });
  killReplica(7, 'SIGTERM', means(true));
  killReplica(7, 'SIGKILL', means(true, 'ESRCH'));
  killReplica(7, 'SIGTERM', means(false));
  t.same(did, ['kill -7 SIGTERM', 'kill -7 SIGKILL', 'taskkill 7']);
  t.throws(() => killReplica(7, 'SIGTERM', means(true, 'EPERM')), { code: 'EPERM' });
});

t.test('local sockets are files, or pipes by a name of their own', async (t) => {
  t.equal(socketPath('/run/serve-daemon-7', 'data', 'linux'), '/run/serve-daemon-7/data');
  t.equal(socketPath('C:\\Temp\\serve-daemon-7', 'data', 'win32'), '\\\\.\\pipe\\serve-daemon-7-data');
});
