/** The live start-up display: looks how far the deployments are, and draws it until all have come to an end. */
import type { RunningDaemon } from '../daemon.ts';
import type { Screen } from '../telemetry/screen.ts';
import { startupLines } from './startup-lines.ts';

const LOOK_MS = 100;
/** What has not moved for so long may never: the display must not stand over the log for ever. */
const STILL_MS = 30_000;

/**
 * @param since when the program was started, as `performance.now()` has it
 * @returns ends it; what was drawn last stays
 */
export const displayStartup = (daemon: RunningDaemon, screen: Screen, colours: boolean, since: number): (() => void) => {
  let over = false;
  let seen = '';
  let movedAt = performance.now();
  const draw = () => {
    const deployments = daemon.progress();
    const stages = deployments.map(({ stage, ready }) => `${stage}${ready}`).join();
    const now = performance.now();
    if (stages !== seen) [seen, movedAt] = [stages, now];
    const { url, adminUrl } = daemon;
    screen.draw(startupLines({ deployments, ms: now - since, url, adminUrl, over }, screen.size, colours));
    if (now - movedAt > STILL_MS) end();
  };
  const end = () => {
    if (over) return;
    over = true;
    clearInterval(timer);
    draw();
    screen.leave();
  };
  const timer = setInterval(draw, LOOK_MS);
  draw();
  void daemon.ready.then(end);
  return end;
};
