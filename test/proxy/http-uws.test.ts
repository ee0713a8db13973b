import t from 'tap';
import { OPEN_DOOR } from '../support/open-door.ts';

// The library reads it once, when it is loaded; the daemon sets it before its worker starts.
process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(16 * 1024);

const { chooseDriver } = await import('../../src/proxy/http-driver.ts');
const { conform } = await import('./http.conformance.ts');

const limits = { maxHeaderBytes: 16_384, maxRequestBodyBytes: 1000, keepAliveTimeoutMs: 5000, draining: false };
const options = { host: '127.0.0.1', port: 0, tls: null, maxHeaderBytes: 16_384, limits: () => limits, door: OPEN_DOOR };
const loaded = await Promise.resolve()
  .then(() => chooseDriver('uws').start(options, () => {}))
  .catch((error: Error) => error);
if (loaded instanceof Error) {
  t.test('uws: not on this machine', { skip: loaded.message }, () => {});
} else {
  loaded.destroy();
  t.test('uws: the driver says which it is, and auto takes it', async (t) => {
    t.equal(loaded.driver, 'uWebSockets.js');
    const auto = await chooseDriver('auto').start(options, () => {});
    t.teardown(() => auto.destroy());
    t.equal(auto.driver, 'uWebSockets.js');
    t.equal(auto.fallbackReason, undefined);
  });
  conform('uws');
}
