import t from 'tap';
import { type FailedListening, listenText } from '../../src/telemetry/listen-text.ts';

const said = (about: Partial<FailedListening>): string =>
  listenText({
    section: 'http_options',
    host: '127.0.0.1',
    port: 8080,
    code: 'EADDRINUSE',
    holder: () => undefined,
    platform: 'linux',
    ...about,
  });
const by = (command: string) => () => ({ pid: 7, command });

t.test('a port that is in use: the key, the port, who has it, and what to do', async (t) => {
  for (const [about, text] of [
    [
      { holder: by('node server.js') },
      '127.0.0.1:8080 is in use by `node server.js` (pid 7): stop that, or set http_options.port to another (0 for a free one)',
    ],
    [
      { section: 'admin_options', port: 8265, holder: by('node /opt/bin/serve-daemon --config') },
      '127.0.0.1:8265 is in use by another serve-daemon (pid 7): stop that, edit the config that it serves, or set admin_options.port to another (0 for a free one)',
    ],
    [
      {},
      "127.0.0.1:8080 is in use: stop what listens there (`ss -ltnp 'sport = :8080'` tells what), or set http_options.port to another (0 for a free one)",
    ],
    [{ port: 8000 }, /is in use, which is the port of Ray Serve too: stop/],
    [{ port: 8265 }, /is in use, which is the port of Ray's dashboard too: stop/],
    [
      { port: 8000, holder: by('ray::ProxyActor') },
      /in use by `ray::ProxyActor` \(pid 7\), which is the port of Ray Serve too: stop/,
    ],
    [{ port: 8000, holder: by('python3 -m http.server') }, /`python3 -m http.server` \(pid 7\): stop that/],
    [{ host: '::1', platform: 'darwin' }, /^\[::1\]:8080 is in use.*`lsof -nP -iTCP:8080 -sTCP:LISTEN`/],
    [{ platform: 'win32' }, /`netstat -ano \| findstr :8080`/],
  ] as const)
    t.match(said(about), text);
});

t.test('other reasons name the key too', async (t) => {
  t.match(said({ code: 'EACCES', port: 80 }), /^127\.0\.0\.1:80 may not be used .* http_options\.port/);
  t.match(said({ code: 'EADDRNOTAVAIL', host: '10.1.2.3' }), /^10\.1\.2\.3 is no address of this machine.*http_options\.host/);
  t.match(said({ code: 'ENOTFOUND', host: 'no-such' }), /^no-such is a name that nothing resolves.*http_options\.host/);
  t.match(said({ code: 'ENETDOWN' }), 'cannot listen on 127.0.0.1:8080 (ENETDOWN): change http_options');
});
