/** `logs`: the last lines of a running daemon's log, and those that come. */
import { CLIENT_HELP, CLIENT_OPTIONS, Client } from './client.ts';
import { type Command, readArgs, UsageError } from './command.ts';

export const logs: Command = {
  summary: 'show the last lines of a running daemon’s log',
  help: `serve-daemon logs [application] [deployment] [options]

What the daemon and its replicas logged last, of all or of one; requests are not in it. The daemon keeps 2,000 lines.

${CLIENT_HELP}
  --follow        go on with what comes, until Ctrl-C
  --lines N       so many at most (100)
  --json          as they are, one JSON object a line
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      ...CLIENT_OPTIONS,
      follow: { type: 'boolean' },
      lines: { type: 'string' },
      json: { type: 'boolean' },
    });
    if (positionals.length > 2)
      throw new UsageError(`expected an application and a deployment at most, got ${positionals.join(' ')}`);
    if (values.lines !== undefined && !/^\d{1,6}$/.test(values.lines))
      throw new UsageError(`expected --lines to be a number, got ${values.lines}`);
    const [application, deployment] = positionals;
    const query = new URLSearchParams({
      ...(application === undefined ? {} : { application }),
      ...(deployment === undefined ? {} : { deployment }),
      ...(values.lines === undefined ? {} : { lines: values.lines }),
      ...(values.follow ? { follow: '1' } : {}),
    });
    const { body } = await new Client(values).open(`/api/serve/logs?${query}`);
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) process.stdout.write(`${values.json ? line : readable(line)}\n`);
    }
    return 0;
  },
};

const LEVELS: Readonly<Record<number, string>> = { 10: 'TRACE', 20: 'DEBUG', 30: 'INFO', 40: 'WARN', 50: 'ERROR', 60: 'FATAL' };

const readable = (line: string): string => {
  const { level, time, msg, replica, ...fields } = JSON.parse(line) as Record<string, unknown>;
  delete fields['stream'];
  const more = Object.keys(fields).length === 0 ? '' : ` ${JSON.stringify(fields)}`;
  const who = typeof replica === 'string' ? ` ${replica}:` : '';
  return `${new Date(Number(time)).toISOString()} ${(LEVELS[Number(level)] ?? '').padEnd(5)}${who} ${String(msg)}${more}`;
};
