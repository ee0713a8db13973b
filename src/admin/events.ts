/** `GET /api/serve/events`: changes of the status as server-sent events. */
import type { StatusFeed } from '../control/events.ts';
import type { Route } from './route.ts';

/** A proxy between must not take silence for an end. */
const STILL_THERE_MS = 15_000;

export const eventsRoute = (feed: () => StatusFeed): Route => ({
  method: 'GET',
  path: '/api/serve/events',
  handle: () => ({
    type: 'text/event-stream',
    follow: (out) => {
      const stop = feed().follow((events) =>
        out.write(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('')),
      );
      const timer = setInterval(() => out.write(': still there\n\n'), STILL_THERE_MS).unref();
      return () => {
        clearInterval(timer);
        stop();
      };
    },
  }),
});
