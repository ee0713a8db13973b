/** The command line: picks the command, prints help, and turns what went wrong into one clear line and an exit code. */
import { VERSION } from '../version.ts';
import { build } from './build.ts';
import { ClientError } from './client.ts';
import { type Command, UsageError } from './command.ts';
import { completionOf } from './completion.ts';
import { config, deploy, history, rollback, shutdown } from './deploy.ts';
import { init } from './init.ts';
import { logs } from './logs.ts';
import { plan } from './plan.ts';
import { run } from './run.ts';
import { status } from './status.ts';
import { validate } from './validate.ts';

const COMMANDS: Readonly<Record<string, Command>> = {
  run,
  build,
  init,
  validate,
  plan,
  status,
  config,
  deploy,
  rollback,
  history,
  logs,
  shutdown,
  completion: completionOf(() => COMMANDS),
};

const HELP = `serve-daemon ${VERSION} — serves models and code from one config file

  serve-daemon --config config.yaml     serve it, until Ctrl-C (the same as: run config.yaml)
  serve-daemon                          serve ./config.yaml
  serve-daemon run ./app.ts:app         serve what code defines, without a config file
  serve-daemon init                     write a config file that serves at once

Commands
${Object.entries(COMMANDS)
  .map(([name, command]) => `  ${name.padEnd(10)} ${command.summary}`)
  .join('\n')}

  serve-daemon <command> --help         more about one
  serve-daemon --version

Exit codes: 0 stopped as asked, 1 could not start or failed, 2 wrong usage.
`;

/** @returns the exit code */
export const main = async (args: readonly string[]): Promise<number> => {
  const [first] = args;
  if (first === '--version' || first === '-v') return print(`${VERSION}\n`);
  if (first === '--help' || first === '-h' || first === 'help') return print(HELP);
  const named = first !== undefined && !first.startsWith('-');
  const name = named ? first : 'run';
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined)
    return complain(`there is no command \`${name}\`; there are ${Object.keys(COMMANDS).join(', ')}. See serve-daemon --help`);
  const rest = named ? args.slice(1) : args;
  if (rest.includes('--help') || rest.includes('-h')) return print(command.help);
  try {
    return await command.run(rest);
  } catch (error) {
    if (error instanceof UsageError)
      return complain(error.whole ? error.message : `${error.message}. See serve-daemon ${name} --help`);
    if (error instanceof ClientError) return complain(error.message, 1);
    throw error;
  }
};

const print = (text: string): number => {
  process.stdout.write(text);
  return 0;
};

const complain = (message: string, code = 2): number => {
  process.stderr.write(`serve-daemon: ${message}\n`);
  return code;
};
