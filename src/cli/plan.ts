/** `plan`: what saving a config would do, told by the daemon that would do it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { originOf } from '../control/config-file.ts';
import {
  type ApplicationChange,
  type Change,
  type DeploymentChange,
  type Difference,
  difference,
} from '../control/difference.ts';
import { Goal } from '../control/goal.ts';
import { roomFor } from '../control/room-preview.ts';
import { detectMachine } from '../quota/machine.ts';
import { offerOf } from '../quota/offer.ts';
import { describeFor, understandFor } from '../understand.ts';
import { CLIENT_HELP, CLIENT_OPTIONS, Client, ClientError } from './client.ts';
import { type Command, readArgs, UsageError } from './command.ts';
import { readConfig, tellDiagnostics } from './config-file.ts';
import { columns } from './table.ts';

export const plan: Command = {
  summary: 'tell what saving a config would do to a running daemon',
  help: `serve-daemon plan <config> [options]

Asks the running daemon what it would do with this text in its config file: for each deployment nothing, live (limits and routes are
swapped), reconfigure (the code is called, no process restarts), restart (new replicas take over, and which fields make them), start or
stop; and which listeners move. Nothing is changed. Paths are those of the daemon's config folder. Without a daemon all is new.

${CLIENT_HELP}
  --refuse-restarts   exit with 1 if any replica that runs would be replaced
  --json              everything, as JSON

When it is what you want: save it, or serve-daemon deploy <config>.
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      ...CLIENT_OPTIONS,
      json: { type: 'boolean' },
      'refuse-restarts': { type: 'boolean' },
    });
    const [path] = positionals;
    if (path === undefined || positionals.length > 1) throw new UsageError('expected one config file');
    const text = await readConfig(path);
    let told: Difference | undefined;
    try {
      told = JSON.parse(await new Client(values).ask('/api/serve/plan', 'POST', text)) as Difference;
    } catch (error) {
      if (!(error instanceof ClientError) || error.status !== undefined) throw tellDiagnostics(error, path);
      process.stderr.write(`serve-daemon: ${error.message}. Compared with nothing:\n`);
      told = await alone(path, text);
    }
    if (told === undefined) return 1;
    process.stdout.write(values.json ? `${JSON.stringify(told, undefined, 2)}\n` : render(told));
    if (!values['refuse-restarts'] || told.restarts === 0) return 0;
    process.stderr.write(
      `serve-daemon: ${told.restarts} replica${told.restarts === 1 ? '' : 's'} would restart, which --refuse-restarts refuses\n`,
    );
    return 1;
  },
};

/** @returns undefined when the config has errors, which are told */
const alone = async (path: string, text: Uint8Array): Promise<Difference | undefined> => {
  const origin = originOf(resolve(path));
  const cache = mkdtempSync(join(tmpdir(), 'serve-plan-'));
  try {
    const goal = new Goal(
      origin,
      cache,
      understandFor(origin, process.env, detectMachine(process.env)),
      describeFor(origin, process.env, cache),
    );
    const outcome = await goal.read({ text, confined: false }, false);
    if (outcome.type === 'goal') {
      const offer = offerOf(detectMachine(process.env), outcome.desired.resources);
      const nothing = { replicas: [], serving: new Map(), restarts: new Map() };
      return difference(undefined, { ...outcome, room: roomFor(outcome.targets, undefined, offer, nothing) });
    }
    throw tellDiagnostics(new ClientError(`${path} has errors`, 400, outcome.diagnostics), path);
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
};

const WORDS: Readonly<Record<Change, string>> = {
  nothing: 'nothing',
  live: 'live',
  reconfigure: 'reconfigure',
  restart: 'rolling restart',
  start: 'start',
  stop: 'stop',
};

const render = ({ applications, listeners, daemon, changed, restarts }: Difference): string => {
  if (!changed && Object.values(applications).every(({ note, problem }) => note === undefined && problem === undefined))
    return 'nothing would change\n';
  const lines: string[] = [];
  for (const [name, application] of Object.entries(applications)) {
    lines.push(`${name}: ${WORDS[application.change]}${about(application)}`);
    const rows = Object.entries(application.deployments).map(([deployment, change]) => [
      deployment,
      WORDS[change.change],
      detail(change),
    ]);
    if (rows.length > 0) lines.push(columns(rows, '  '));
  }
  for (const [name, { change, fields, note }] of Object.entries(listeners))
    if (change !== 'nothing')
      lines.push(
        `${name} listener: ${change}${fields.length > 0 ? ` (${fields.join(', ')})` : ''}${note === undefined ? '' : `; ${note}`}`,
      );
  if (daemon.length > 0) lines.push(`daemon: live (${daemon.join(', ')})`);
  lines.push(
    restarts === 0
      ? 'no replica restarts'
      : `${restarts} replica${restarts === 1 ? '' : 's'} would be replaced, each when a new one is ready`,
  );
  return `${lines.join('\n')}\n`;
};

const about = ({ fields, note, problem }: ApplicationChange): string =>
  `${fields.length > 0 ? ` (${fields.join(', ')})` : ''}${note === undefined ? '' : `; ${note}`}${problem === undefined ? '' : `; ${problem}`}`;

const detail = ({ change, fields, why, replicas: { from, to }, pending, steps }: DeploymentChange): string => {
  const count = from === to ? `${to}` : `${from} → ${to}`;
  const because =
    change === 'restart' ? [`because of ${why.join(', ')}`, ...fields.filter((field) => !why.includes(field))] : fields;
  const waits = pending === undefined ? '' : `; ${pending.count} PENDING: ${pending.reason}`;
  const told = [`${count} replica${count === '1' ? '' : 's'}`, ...because].join(', ');
  return `${told}${steps === undefined ? '' : `; ${steps}`}${waits}`;
};
