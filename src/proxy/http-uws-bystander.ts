/**
 * A response of uWebSockets.js that nobody waits for. A WebSocket whose handshake is completed under the cork of its own request may be cut
 * at once: versions before 20.62 then read the state of that request out of memory which the upgrade has given back. Uncorked, the library
 * writes a warning to standard error for each of them. Under the cork of another connection it does neither; this is the other connection.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { UwsApp, UwsListenSocket, UwsModule, UwsResponse } from './uws-types.ts';

export class Bystander {
  readonly #app: UwsApp;
  #client: Socket | undefined;
  #response: UwsResponse | undefined;

  /** Without a Unix socket it stands for none, and the cork is the request's own. */
  static async make(uws: UwsModule): Promise<Bystander> {
    const bystander = new Bystander(uws.App());
    let folder: string | undefined;
    try {
      folder = mkdtempSync(join(tmpdir(), 'sd-'));
      await bystander.#ask(uws, join(folder, 's'));
    } catch {
      bystander.close();
    } finally {
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    }
    return bystander;
  }

  private constructor(app: UwsApp) {
    this.#app = app;
  }

  /** Runs `write` at once; what it writes to `own` goes out uncorked. */
  cork(own: UwsResponse, write: () => void): void {
    (this.#response ?? own).cork(write);
  }

  close(): void {
    this.#response = undefined;
    this.#client?.destroy();
    this.#app.close();
  }

  /** @throws Error when nothing can listen at the path, or be connected to it */
  async #ask(uws: UwsModule, path: string): Promise<void> {
    const listening = await new Promise<UwsListenSocket | false>((resolve) => this.#app.listen_unix(resolve, path));
    if (listening === false) throw new Error(`nothing can listen at ${path}`);
    const client = connect(path);
    this.#client = client;
    client.unref();
    try {
      await new Promise<void>((resolve, reject) => {
        client.on('error', reject);
        this.#app.any('/*', (response) => {
          response.onAborted(() => {
            this.#response = undefined;
          });
          this.#response = response;
          resolve();
        });
        client.write('GET / HTTP/1.1\r\nhost: bystander\r\n\r\n');
      });
    } finally {
      uws.us_listen_socket_close(listening);
    }
  }
}
