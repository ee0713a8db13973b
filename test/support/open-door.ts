import type { Door } from '../../src/proxy/connections.ts';

/** Every connection is taken. */
export const OPEN_DOOR: Door = { opened: () => true, closed: () => {} };
