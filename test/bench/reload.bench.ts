/** (e) The control plane in the data plane: p99 of an echo at an open loop of 2,000/s, without reloads and while there are a hundred, in turn. */
import { CLASSES, Edits } from '../soak/edits.ts';
import { OpenLoop } from '../soak/open-loop.ts';
import { code, echoes } from '../soak/parts.ts';
import { pause, seeded } from '../soak/soak.ts';
import { startDaemon } from '../support/daemon-rig.ts';
import { median } from './support.ts';

const ROUNDS = 3;
const PER_SECOND = 2000;
const RELOADS = 100;

export const run = async (): Promise<void> => {
  const edits = new Edits({ idempotent: false, leastReplicas: 1, rand: seeded(3) });
  await using daemon = await startDaemon(edits.config(), {
    files: { 'code.ts': edits.code, 'moving.ts': code(), 'echo.ts': code() },
  });
  await daemon.running();
  const measure = async (work: () => Promise<void>): Promise<{ p99Ms: number; sent: number }> => {
    await using load = new OpenLoop(() => daemon.url, [echoes('echo', '/echo', PER_SECOND)]);
    await pause(2000);
    load.resetLatency();
    await work();
    await load.stop();
    if (load.failures.length > 0) throw new Error(load.failures.join('; '));
    return { p99Ms: load.p99Ms('echo'), sent: load.sent };
  };
  let count = 0;
  const reloads = async () => {
    for (let n = 0; n < RELOADS; n++) {
      const edit = edits.next(CLASSES[count++ % CLASSES.length] as (typeof CLASSES)[number]);
      const from = daemon.log.length;
      await daemon.write(edit.file, edit.content);
      if (edit.told === undefined) await pause(300);
      else await daemon.waitForLog(edit.told, from);
      if (edit.class === 'rejected') {
        await daemon.save(edits.config());
        await daemon.waitForLog((line) => line.msg.startsWith('the config is good again'), from);
      }
    }
  };
  const rounds: { without: number; during: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const without = await measure(() => pause(15_000));
    const during = await measure(reloads);
    await daemon.running(60_000);
    rounds.push({ without: without.p99Ms, during: during.p99Ms });
  }
  const ratios = rounds.map(({ without, during }) => during / without);
  console.log(
    `(e) echo at an open loop of ${PER_SECOND}/s (eight every 4 ms), one replica, ${RELOADS} reloads of every class a round`,
  );
  console.log(
    `    p99 ${median(rounds.map(({ without }) => without)).toFixed(2)} ms without reloads, ${median(rounds.map(({ during }) => during)).toFixed(2)} ms with; ratio ${median(ratios).toFixed(2)} (${ratios.map((each) => each.toFixed(2)).join(' ')}), wanted ≤ 1.5`,
  );
};
