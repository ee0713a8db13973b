/** The worker of the suite's last case: a driver where the daemon runs it. */

import { parentPort, workerData } from 'node:worker_threads';
import { startHttpServer } from '../../src/proxy/http-driver.ts';
import { echo } from './http-rig.ts';

const limits = { maxRequestBodyBytes: 1000, keepAliveTimeoutMs: 5000, draining: false };
const server = await startHttpServer(workerData, { host: '127.0.0.1', port: 0, limits: () => limits }, echo);
parentPort?.once('message', () => server.destroy());
parentPort?.postMessage(server.port);
