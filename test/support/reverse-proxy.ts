/** nginx and HAProxy, as people put them in front: started on a free port for a test, with a log of what they passed on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './daemon-rig.ts';

export type ProxyKind = 'nginx' | 'haproxy';

const PROGRAMS: Readonly<Record<ProxyKind, string>> = { nginx: '/usr/sbin/nginx', haproxy: '/usr/sbin/haproxy' };

/** false: it is here; else why a test that needs it is skipped. */
export const missing = (kind: ProxyKind): string | false =>
  existsSync(PROGRAMS[kind]) ? false : `no ${kind} here (Debian: ${kind})`;

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

/** Keeps connections to the daemon open, passes bodies on as they come, and WebSockets. */
const nginxConfig = (folder: string, port: number, upstream: string): string => `
daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log warn;
events { worker_connections 512; }
http {
  log_format one '$status $upstream_status $request_method $uri';
  access_log ${folder}/access.log one;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream daemon { server ${upstream}; keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    client_max_body_size 64m;
    location / {
      proxy_pass http://daemon; proxy_http_version 1.1; proxy_request_buffering off; proxy_next_upstream off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; proxy_set_header Host $http_host;
    }
  }
}
`;

const haproxyConfig = (port: number, upstream: string): string => `
global
  log stdout format raw local0
defaults
  mode http
  log global
  log-format "%ST %ts %HM %HP"
  retries 0
  http-reuse always
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 30s
frontend front
  bind 127.0.0.1:${port}
  default_backend daemon
backend daemon
  server one ${upstream}
`;

export class ReverseProxy implements AsyncDisposable {
  readonly port: number;
  readonly #kind: ProxyKind;
  readonly #folder: string;
  readonly #child: ChildProcess;
  #out = '';

  private constructor(kind: ProxyKind, folder: string, port: number) {
    this.#kind = kind;
    this.#folder = folder;
    this.port = port;
    const config = join(folder, 'config');
    const args = kind === 'nginx' ? ['-c', config, '-p', folder, '-e', join(folder, 'error.log')] : ['-db', '-f', config];
    this.#child = spawn(PROGRAMS[kind], args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#out += text;
    });
    this.#child.stderr?.resume();
  }

  /** @param upstream where the daemon listens: `http://host:port` */
  static async start(kind: ProxyKind, upstream: string): Promise<ReverseProxy> {
    const folder = mkdtempSync(join(tmpdir(), `sd-${kind}-`));
    const port = await freePort();
    const { host } = new URL(upstream);
    writeFileSync(join(folder, 'config'), kind === 'nginx' ? nginxConfig(folder, port, host) : haproxyConfig(port, host));
    const proxy = new ReverseProxy(kind, folder, port);
    await until(`${kind} listens`, () => proxy.#listens());
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** One for each request that it took: the status that its client got, first. */
  get lines(): readonly string[] {
    const log = join(this.#folder, 'access.log');
    const text = this.#kind === 'nginx' ? (existsSync(log) ? readFileSync(log, 'utf8') : '') : this.#out;
    // The look whether it listens is no request.
    return text.split('\n').filter((line) => /^\d{3} .* (?:GET|POST) /.test(line));
  }

  #listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
