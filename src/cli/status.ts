/** `status`: applications, deployments and replicas of a running daemon, as a table. */
import type { DeploymentStatus, ReplicaStatus, Status } from '../control/status.ts';
import type { SplitStatus } from '../control/status-splits.ts';
import { percentText } from '../verdict/judge.ts';
import { CLIENT_HELP, CLIENT_OPTIONS, Client } from './client.ts';
import { type Command, readArgs, UsageError } from './command.ts';

const EVERY_MS = 1000;
/** Home, then clear to the end: what was there before does not flicker. */
const REDRAW = '\u001b[H\u001b[J';

export const status: Command = {
  summary: 'show applications, deployments and replicas of a running daemon',
  help: `serve-daemon status [options]

${CLIENT_HELP}
  --watch         again every second, until Ctrl-C
  --json          everything that is known, as JSON
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      ...CLIENT_OPTIONS,
      json: { type: 'boolean' },
      watch: { type: 'boolean' },
    });
    if (positionals.length > 0) throw new UsageError(`expected no further arguments, got ${positionals.join(' ')}`);
    const client = new Client(values);
    for (;;) {
      const body = await client.ask('/api/serve/applications/');
      const shown = values.json ? body : table(JSON.parse(body) as Status);
      process.stdout.write(values.watch && process.stdout.isTTY ? `${REDRAW}${shown}` : shown);
      if (!values.watch) return 0;
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  },
};

const table = ({ version, pid, config, listeners, applications }: Status): string => {
  const lines = [
    `serve-daemon ${version}, pid ${pid}, ${listeners.http ?? 'no HTTP'} (${listeners.http_driver ?? '-'}), admin ${listeners.admin}`,
    `config ${config.path}, revision ${config.revision}, applied ${config.applied_at}${config.source === 'file' ? '' : ` by ${config.source}`}`,
  ];
  if (config.drift) lines.push('  the file says something else than what is served; its next change wins');
  if (listeners.http_error !== null) lines.push(`  HTTP is not where the config wants it: ${listeners.http_error}`);
  const errors = config.errors.filter(({ severity }) => severity === 'error');
  if (errors.length > 0) {
    const count = `${errors.length} error${errors.length === 1 ? '' : 's'}`;
    const ofFiles = errors.every(({ application }) => application !== undefined);
    lines.push(
      ofFiles ? `  the files that it names have ${count}:` : `  the file on disk has ${count} and is not what is served:`,
    );
    for (const { file, line, column, message } of errors) {
      const where = file === config.path ? '' : `${file}:`;
      lines.push(`  ${line === 0 ? '' : `${where}${line}:${column} `}${message}`);
    }
  }
  for (const application of Object.values(applications)) {
    lines.push(
      '',
      `${application.name}  ${application.route_prefix ?? '(no route)'}  ${application.status}${application.message === '' ? '' : `  ${application.message}`}`,
    );
    for (const [step, split] of Object.entries(application.splits)) lines.push(splitLine(step, split));
    for (const [step, { same, different, failed, skipped, share_different }] of Object.entries(application.shadows))
      lines.push(
        `  shadow of ${step}: ${same} same, ${different} different, ${failed} failed, ${skipped} skipped${share_different === null ? '' : `; ${percentText(100 * share_different)} differ`}`,
      );
    for (const deployment of Object.values(application.deployments)) {
      const { name, status: state, replicas, target_num_replicas: wanted, queued, ongoing, restarts } = deployment;
      const running = replicas.filter((replica) => replica.state === 'RUNNING').length;
      lines.push(
        `  ${name.padEnd(20)} ${state.padEnd(14)} ${running}/${wanted} running, ${queued} queued, ${ongoing} ongoing, ${restarts} restarts`,
      );
      lines.push(...cacheOf(deployment));
      for (const replica of replicas)
        lines.push(
          `    ${replica.replica_id.padEnd(36)} ${replica.state.padEnd(9)} pid ${replica.pid ?? '-'}, since ${replica.since}, ${replica.ongoing} ongoing${modelsOf(replica)}${versionsOf(replica)}`,
        );
    }
  }
  return `${lines.join('\n')}\n`;
};

/** Who gets how much, where that is not what the file says, and what the verdict says. */
const splitLine = (step: string, { targets, verdict }: SplitStatus): string => {
  const shares = targets.map(({ call, percent, declared_percent: declared }) => {
    const file = percent === declared ? '' : ` (${percentText(declared)} in the file)`;
    return `${call} ${percentText(percent)}${file}`;
  });
  const said = verdict === null ? '' : `; ${verdict.state}: ${verdict.message}`;
  return `  split of ${step}: ${shares.join(', ')}${said}`;
};

/** How many of its requests no replica had to work on. */
const cacheOf = ({ response_cache }: DeploymentStatus): readonly string[] => {
  if (response_cache === null) return [];
  const { requests, entries, bytes } = response_cache;
  const { hit, shared, miss, bypass } = requests;
  return [
    `    response cache: ${hit} hit, ${shared} shared, ${miss} missed, ${bypass} bypassed, ${entries} answers in ${(bytes / 2 ** 20).toFixed(1)} MiB`,
  ];
};

const versionsOf = ({ model_versions }: ReplicaStatus): string =>
  Object.entries(model_versions ?? {})
    .map(([version, { execution_provider, instead_of }]) => {
      const instead = instead_of.length === 0 ? '' : ` in place of ${instead_of.map((each) => each.split(':', 1)[0]).join(', ')}`;
      return `, version ${version} on ${execution_provider ?? 'what it does not tell'}${instead}`;
    })
    .join('');

const modelsOf = ({ models }: ReplicaStatus): string => (models === null ? '' : `, models ${models.join(' ') || 'none'}`);
