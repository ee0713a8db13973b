/** `run`: the daemon in the foreground, until SIGTERM or Ctrl-C. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { StartError, startDaemon } from '../main.ts';
import { type Command, readArgs, UsageError } from './command.ts';

const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'] as const;

export const run: Command = {
  summary: 'serve a config file in the foreground (the default)',
  help: `serve-daemon run <config> [options]      the same as: serve-daemon --config <config>

Serves the applications of a config file. Saving the file applies it; a file with mistakes is reported and changes nothing.
Ctrl-C or SIGTERM finishes what was accepted and exits with 0; a second one stops at once. SIGHUP reloads.

  --config FILE      the config (./config.yaml)
  --last-good        when the file has errors, start on the config that was applied last, and report
  --no-watch-code    do not reload when code or models change, only when the config does
  --log-level LEVEL  debug, info, warn, error or fatal, over what the config says
  --state-dir DIR    where compiled code and applied configs are kept (below $XDG_STATE_HOME or ~/.local/state)
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      config: { type: 'string', multiple: true },
      'last-good': { type: 'boolean' },
      'no-watch-code': { type: 'boolean' },
      'log-level': { type: 'string' },
      'state-dir': { type: 'string' },
    });
    const named = [...positionals, ...(values.config ?? [])];
    if (named.length > 1) throw new UsageError(`expected one config file, got ${named.join(', ')}`);
    const level = LEVELS.find((each) => each === values['log-level']);
    if (values['log-level'] !== undefined && level === undefined)
      throw new UsageError(`expected --log-level to be one of ${LEVELS.join(', ')}, got ${values['log-level']}`);
    const config = resolve(named[0] ?? 'config.yaml');
    if (named.length === 0 && !existsSync(config))
      throw new UsageError('there is no config.yaml here: name one with --config FILE');
    return serve({
      config,
      watchCode: values['no-watch-code'] !== true,
      lastGood: values['last-good'] === true,
      logLevel: level,
      stateDir: values['state-dir'] === undefined ? undefined : resolve(values['state-dir']),
    });
  },
};

export interface ServeOptions {
  readonly config: string;
  readonly watchCode?: boolean;
  readonly lastGood?: boolean;
  readonly logLevel?: (typeof LEVELS)[number] | undefined;
  readonly stateDir?: string | undefined;
  /** Called once when every application is ready or has failed. */
  readonly onReady?: (url: string | undefined) => void;
}

/** A signal so soon after another is the same one. */
const SAME_SIGNAL_MS = 200;

/** Serves until a signal says stop. @returns the exit code */
export const serve = async (options: ServeOptions): Promise<number> => {
  const { config, watchCode = true, lastGood = false, logLevel, stateDir, onReady } = options;
  let finish!: (code: number) => void;
  const finished = new Promise<number>((resolveCode) => {
    finish = resolveCode;
  });
  let asked = 0;
  let askedAt = 0;
  // Set as soon as it will not end in order: `destroy` also ends a `stop` that is under way, which then comes to its end first.
  let code = 0;
  let starting: Promise<Awaited<ReturnType<typeof startDaemon>>> | undefined;
  const stop = async () => {
    // Under npm one Ctrl-C comes twice: from the terminal, and passed on by npm.
    if (asked > 0 && performance.now() - askedAt < SAME_SIGNAL_MS) return;
    asked += 1;
    askedAt = performance.now();
    const daemon = await starting?.catch(() => undefined);
    if (daemon === undefined) return;
    if (asked > 1) {
      code = 1;
      await daemon.destroy();
    } else await daemon.stop();
    finish(code);
  };
  process.on('SIGINT', () => void stop());
  process.on('SIGTERM', () => void stop());
  const lastResort = async (error: unknown) => {
    code = 1;
    const daemon = await starting?.catch(() => undefined);
    daemon?.log.logger.fatal({ err: error }, 'an error that nothing expected: stopping');
    if (daemon === undefined) process.stderr.write(`serve-daemon: ${error instanceof Error ? error.stack : String(error)}\n`);
    await daemon?.destroy();
    finish(code);
  };
  process.on('uncaughtException', (error) => void lastResort(error));
  process.on('unhandledRejection', (error) => void lastResort(error));
  try {
    starting = startDaemon({
      config,
      env: process.env,
      stateDir,
      terminal: process.stdout.isTTY === true,
      watchCode,
      logLevel,
      lastGood,
    });
    const daemon = await starting;
    process.on('SIGHUP', () => daemon.reload());
    void daemon.ready.then(() => {
      if (asked === 0) onReady?.(daemon.url);
    });
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    process.stderr.write(`serve-daemon could not start:\n${error.message}\n`);
    return 1;
  }
  return finished;
};
