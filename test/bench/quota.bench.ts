/** How exactly the machine holds replicas to `cpu_limit` and to their shares of `num_cpus`. */
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { startDaemon } from './support.ts';

const SECONDS = 5;
const CODE = `import { spawn } from 'node:child_process';
const spin = 'const until = Date.now() + 1e9; while (Date.now() < until);';
export class Busy {
  constructor() { for (let n = 0; n < ${availableParallelism()}; n++) spawn(process.execPath, ['-e', spin], { stdio: 'ignore' }); }
  call() {}
}
`;
const configOf = (deployments: readonly (readonly [string, string])[]) => `http_options: {port: 0}
admin_options: {port: 0}
resources: {num_cpus: 64}
applications:
${deployments.map(([name, options]) => `- {name: ${name}, route_prefix: /${name}, deployments: [{name: Busy, import_path: "./busy.ts:Busy", ray_actor_options: ${options}}]}\n`).join('')}`;

/** Ticks of CPU that a process and all below it have used. */
const usedBy = (pid: number): number => {
  let ticks = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
      if (Number(fields[2]) === pid) ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It has gone.
    }
  }
  return ticks;
};

/** CPUs that each replica uses, in the order of their starts. */
const measure = async (deployments: readonly (readonly [string, string])[]): Promise<readonly number[]> => {
  await using daemon = await startDaemon(configOf(deployments), { 'busy.ts': CODE });
  for (const [name] of deployments) await daemon.line(`"application":"${name}","route"`);
  const pids = await daemon.pids();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const [before, from] = [pids.map(usedBy), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const seconds = (performance.now() - from) / 1000;
  return pids.map((pid, index) => (usedBy(pid) - (before[index] ?? 0)) / 100 / seconds);
};

export const run = async (): Promise<void> => {
  const [limited] = await measure([['limited', '{cpu_limit: 0.5}']]);
  console.log(`(e) a busy loop with cpu_limit 0.5 uses ${limited?.toFixed(3)} of a CPU (wanted 0.5 ± 0.05)`);
  const shares = await measure([
    ['more', '{num_cpus: 1.5}'],
    ['less', '{num_cpus: 0.5}'],
  ]);
  const [less = 0, more = 0] = [...shares].sort((a, b) => a - b);
  console.log(
    `    busy replicas with num_cpus 1.5 and 0.5 use ${more.toFixed(2)} and ${less.toFixed(2)} CPUs: ${(more / less).toFixed(2)} : 1 (wanted 3 ± 15 %)`,
  );
};
