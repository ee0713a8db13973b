/** `status`: applications, deployments and replicas of a running daemon, as a table. */
import type { Status } from '../control/status.ts';
import { type Command, readArgs, UsageError } from './command.ts';

const DEFAULT_ADDRESS = 'http://127.0.0.1:8265';

export const status: Command = {
  summary: 'show applications, deployments and replicas of a running daemon',
  help: `serve-daemon status [options]

  --address URL   the daemon's admin API (${DEFAULT_ADDRESS}, or $SERVE_DAEMON_ADDRESS)
  --token TOKEN   admin_options.token of its config, or $SERVE_DAEMON_TOKEN
  --json          everything that is known, as JSON
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      address: { type: 'string' },
      token: { type: 'string' },
      json: { type: 'boolean' },
    });
    if (positionals.length > 0) throw new UsageError(`expected no further arguments, got ${positionals.join(' ')}`);
    const address = values.address ?? process.env['SERVE_DAEMON_ADDRESS'] ?? DEFAULT_ADDRESS;
    const token = values.token ?? process.env['SERVE_DAEMON_TOKEN'];
    const base = /^https?:\/\//.test(address) ? address : `http://${address}`;
    let answer: Response;
    try {
      answer = await fetch(new URL('/api/serve/applications/', base), {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      });
    } catch (error) {
      const { cause, message } = error as Error & { cause?: Error };
      process.stderr.write(
        `serve-daemon: no daemon answers at ${base} (${cause?.message ?? message}): is it running, and is this its admin address?\n`,
      );
      return 1;
    }
    const body = await answer.text();
    if (!answer.ok) {
      process.stderr.write(`serve-daemon: ${base} answered ${answer.status}: ${body.trim()}\n`);
      return 1;
    }
    process.stdout.write(values.json ? body : table(JSON.parse(body) as Status));
    return 0;
  },
};

const table = ({ version, pid, config, listeners, applications }: Status): string => {
  const lines = [
    `serve-daemon ${version}, pid ${pid}, ${listeners.http ?? 'no HTTP'} (${listeners.http_driver ?? '-'}), admin ${listeners.admin}`,
    `config ${config.path}, applied ${config.applied_at}`,
  ];
  if (listeners.http_error !== null) lines.push(`  HTTP is not where the config wants it: ${listeners.http_error}`);
  const errors = config.errors.filter(({ severity }) => severity === 'error');
  if (errors.length > 0) {
    const count = `${errors.length} error${errors.length === 1 ? '' : 's'}`;
    const ofFiles = errors.every(({ application }) => application !== undefined);
    lines.push(
      ofFiles ? `  the files that it names have ${count}:` : `  the file on disk has ${count} and is not what is served:`,
    );
    for (const { line, column, message } of errors) lines.push(`  ${line === 0 ? '' : `${line}:${column} `}${message}`);
  }
  for (const application of Object.values(applications)) {
    lines.push(
      '',
      `${application.name}  ${application.route_prefix ?? '(no route)'}  ${application.status}${application.message === '' ? '' : `  ${application.message}`}`,
    );
    for (const deployment of Object.values(application.deployments)) {
      const { name, status: state, replicas, target_num_replicas: wanted, queued, ongoing, restarts } = deployment;
      const running = replicas.filter((replica) => replica.state === 'RUNNING').length;
      lines.push(
        `  ${name.padEnd(20)} ${state.padEnd(14)} ${running}/${wanted} running, ${queued} queued, ${ongoing} ongoing, ${restarts} restarts`,
      );
      for (const replica of replicas)
        lines.push(
          `    ${replica.replica_id.padEnd(36)} ${replica.state.padEnd(9)} pid ${replica.pid ?? '-'}, since ${replica.since}, ${replica.ongoing} ongoing`,
        );
    }
  }
  return `${lines.join('\n')}\n`;
};
