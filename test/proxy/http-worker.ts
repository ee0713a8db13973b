/** The worker of the suite's last case: a driver where the daemon runs it. */

import { parentPort, workerData } from 'node:worker_threads';
import { chooseDriver } from '../../src/proxy/http-driver.ts';
import { OPEN_DOOR } from '../support/open-door.ts';
import { echo } from './http-rig.ts';

const limits = { maxHeaderBytes: 16_384, maxRequestBodyBytes: 1000, keepAliveTimeoutMs: 5000, draining: false };
const server = await chooseDriver(workerData).start(
  { host: '127.0.0.1', port: 0, tls: null, maxHeaderBytes: 16_384, limits: () => limits, door: OPEN_DOOR },
  echo,
);
parentPort?.once('message', () => server.destroy());
parentPort?.postMessage(server.port);
