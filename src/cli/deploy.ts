/** `deploy`, `rollback`, `history`, `config`, `shutdown`: what an operator does with a running daemon, over its admin API. */
import type { Revision } from '../control/history.ts';
import type { VerdictMove } from '../control/verdict-record.ts';
import { percentText } from '../verdict/judge.ts';
import { CLIENT_HELP, CLIENT_OPTIONS, Client, ClientError } from './client.ts';
import { type Command, readArgs, UsageError } from './command.ts';
import { readConfig, tellDiagnostics } from './config-file.ts';
import { columns } from './table.ts';

const NONE = 'expected no further arguments, got ';

export const deploy: Command = {
  summary: 'hand a config to a running daemon',
  help: `serve-daemon deploy <config> [options]

The daemon takes it as if it were saved, but its file stays as it is; the next change of the file wins. Paths are those of the daemon's
config folder and must stay inside it. Where the daemon listens stays as it is unless the config says it.

${CLIENT_HELP}

See what it would do with serve-daemon plan; watch it with serve-daemon status --watch; undo it with serve-daemon rollback.
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, CLIENT_OPTIONS);
    const [path] = positionals;
    if (path === undefined || positionals.length > 1) throw new UsageError('expected one config file');
    const text = await readConfig(path);
    const client = new Client(values);
    await client.ask('/api/serve/applications/', 'PUT', text).catch((error) => {
      throw tellDiagnostics(error, path);
    });
    process.stdout.write(`${path} is deployed to ${client.base}; see serve-daemon status\n`);
    return 0;
  },
};

export const rollback: Command = {
  summary: 'go back to an earlier applied config',
  help: `serve-daemon rollback [n] [options]

Applies revision n of serve-daemon history, or the one before what is served. The file stays as it is; its next change wins.

${CLIENT_HELP}
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, CLIENT_OPTIONS);
    const [wanted] = positionals;
    if (positionals.length > 1 || (wanted !== undefined && !/^[1-9]\d*$/.test(wanted)))
      throw new UsageError(`expected at most the number of a revision, got ${positionals.join(' ')}`);
    const body = wanted === undefined ? '' : JSON.stringify({ revision: Number(wanted) });
    const { revision } = JSON.parse(await new Client(values).ask('/api/serve/rollback', 'POST', body)) as { revision: number };
    process.stdout.write(`rolled back; this is revision ${revision}\n`);
    return 0;
  },
};

export const history: Command = {
  summary: 'list the configs that were applied, and what verdicts decided',
  help: `serve-daemon history [n] [options]

Lists them, the newest last; with n, prints the text of that one. Go back to one with serve-daemon rollback n. Between them
stands, without a number, where a verdict moved the weights of a split, and why.

${CLIENT_HELP}
  --json          as JSON
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, { ...CLIENT_OPTIONS, json: { type: 'boolean' } });
    if (positionals.length > 1) throw new UsageError(`expected at most the number of a revision, got ${positionals.join(' ')}`);
    const client = new Client(values);
    const [wanted] = positionals;
    if (wanted !== undefined) {
      const answer = await client.ask(`/api/serve/history/${encodeURIComponent(wanted)}`);
      process.stdout.write(values.json ? answer : (JSON.parse(answer) as Revision).text);
      return 0;
    }
    const answer = await client.ask('/api/serve/history');
    if (values.json) process.stdout.write(answer);
    else {
      process.stdout.write(`${historyTable(JSON.parse(answer) as Told)}\n`);
    }
    return 0;
  },
};

interface Told {
  readonly revisions: readonly Omit<Revision, 'text'>[];
  readonly verdicts: readonly VerdictMove[];
}

const historyTable = ({ revisions, verdicts }: Told): string => {
  const rows = [
    ...revisions.map(({ revision, at, source, hash }) => [String(revision), at, source, hash.slice(0, 12)]),
    ...verdicts.map((move) => ['-', move.at, 'verdict', moveText(move)]),
  ].sort(([, a = ''], [, b = '']) => (a < b ? -1 : 1));
  const last = verdicts.length === 0 ? 'hash' : 'hash, or what was decided';
  return columns([['revision', 'applied at', 'source', last], ...rows]);
};

const moveText = ({ application, step, canary, from, to, state, why }: VerdictMove): string =>
  `${application}/${step}: ${canary} ${percentText(from)} → ${percentText(to)}${state === 'progressing' ? '' : `, ${state}`}: ${why}`;

export const config: Command = {
  summary: 'print the config that a running daemon serves',
  help: `serve-daemon config [options]

Prints it as it was written; a \${NAME} is not replaced.

${CLIENT_HELP}
  --json          with its hash, its source (file, api, rollback), its revision, and whether the file says something else
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, { ...CLIENT_OPTIONS, json: { type: 'boolean' } });
    if (positionals.length > 0) throw new UsageError(`${NONE}${positionals.join(' ')}`);
    const answer = await new Client(values).ask('/api/serve/config');
    process.stdout.write(values.json ? answer : (JSON.parse(answer) as { text: string }).text);
    return 0;
  },
};

const LOOK_MS = 100;

export const shutdown: Command = {
  summary: 'stop a running daemon, as SIGTERM does',
  help: `serve-daemon shutdown [options]

What was accepted is finished; returns when the daemon has gone. A supervisor (systemd, Kubernetes) may start it again.

${CLIENT_HELP}
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, CLIENT_OPTIONS);
    if (positionals.length > 0) throw new UsageError(`${NONE}${positionals.join(' ')}`);
    const client = new Client(values);
    await client.ask('/api/serve/shutdown', 'POST');
    await ended(client);
    process.stdout.write('stopped\n');
    return 0;
  },
};

/** Waits until nobody answers. */
const ended = async (client: Client): Promise<void> => {
  for (;;) {
    try {
      await client.ask('/healthz');
    } catch (error) {
      if (error instanceof ClientError) return;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
};
