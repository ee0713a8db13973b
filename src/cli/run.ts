/** `run`: the daemon in the foreground, until SIGTERM or Ctrl-C; of a config file, or of code alone. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type ConfigOrigin, originOf } from '../control/config-file.ts';
import { StartError } from '../daemon.ts';
import { startDaemon } from '../main.ts';
import type { Terminal } from '../telemetry/log.ts';
import { NOTIFY_VARIABLES, ServiceManager, watchdogPeriodMs } from '../telemetry/notify.ts';
import { keepYoungSpaces } from '../young-space.ts';
import { CODE_HELP, configOfRun, isCode, locateTarget, mistakesOf, type RunOptions, readTargets } from './code-target.ts';
import { type Command, readArgs, UsageError } from './command.ts';
import { invokedAs } from './invoked-as.ts';
import { ServiceReport } from './service-report.ts';
import { displayStartup } from './startup-display.ts';

const LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'] as const;

export const run: Command = {
  summary: 'serve a config file, or code, in the foreground (the default)',
  help: `serve-daemon run <config> [options]                       the same as: serve-daemon --config <config>
serve-daemon run <code> [key=value …] [options]          as in: serve-daemon run ./app.ts:app

Serves the applications of a config file. Saving the file applies it; a file with mistakes is reported and changes nothing.
With code in place of a file it serves the one application that the code defines, with no config file; saving the code applies it.
Ctrl-C or SIGTERM finishes what was accepted and exits with 0; a second one stops at once. SIGHUP reloads.

${CODE_HELP}

  --config FILE      the config (./config.yaml)
  --last-good        when the file has errors, start on the config that was applied last, and report
  --no-watch-code    do not reload when code or models change, only when the config does
  --log-level LEVEL  debug, info, warn, error or fatal, over what the config says
  --state-dir DIR    where compiled code and applied configs are kept (below $XDG_STATE_HOME or ~/.local/state)

With code only (a config file says these itself):
  --name NAME            of the application (default)
  --route-prefix PATH    where HTTP reaches it (/)
  --host HOST            where to listen for HTTP (127.0.0.1)
  --port PORT            (8000; 0: a free one)
  --admin-port PORT      of the admin API, which serve-daemon status asks (8265; 0: a free one)

Exits with 1 when it cannot start, code included: no such file, no such export, a mistake in it. Once it serves, mistakes are reported.
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, {
      config: { type: 'string', multiple: true },
      'last-good': { type: 'boolean' },
      'no-watch-code': { type: 'boolean' },
      'log-level': { type: 'string' },
      'state-dir': { type: 'string' },
      name: { type: 'string' },
      'route-prefix': { type: 'string' },
      host: { type: 'string' },
      port: { type: 'string' },
      'admin-port': { type: 'string' },
    });
    const level = LEVELS.find((each) => each === values['log-level']);
    if (values['log-level'] !== undefined && level === undefined)
      throw new UsageError(`expected --log-level to be one of ${LEVELS.join(', ')}, got ${values['log-level']}`);
    const settings = {
      watchCode: values['no-watch-code'] !== true,
      logLevel: level,
      stateDir: values['state-dir'] === undefined ? undefined : resolve(values['state-dir']),
    };
    const ofCode: RunOptions = {
      name: values.name,
      routePrefix: values['route-prefix'],
      host: values.host,
      port: portOf('--port', values.port),
      adminPort: portOf('--admin-port', values['admin-port']),
    };
    if (positionals.some(isCode)) {
      if (values.config !== undefined || values['last-good'] === true)
        throw new UsageError(
          `expected no --${values.config === undefined ? 'last-good' : 'config'} with code, got ${positionals[0]}`,
        );
      return serve({ config: originOfCode(positionals, ofCode), ...settings });
    }
    const ofCodeOnly = OF_CODE_ONLY.find((name) => values[name] !== undefined);
    if (ofCodeOnly !== undefined)
      throw new UsageError(`expected --${ofCodeOnly} with code only, as in run ./app.ts:app; a config file says it itself`);
    const named = [...positionals, ...(values.config ?? [])];
    if (named.length > 1) throw new UsageError(`expected one config file, got ${named.join(', ')}`);
    const config = resolve(named[0] ?? 'config.yaml');
    if (named.length === 0 && !existsSync(config))
      throw new UsageError(
        `there is no config.yaml in ${process.cwd()}.\nBegin with \`${invokedAs(process.env)} init\`, which writes one that serves at once, or name yours with --config FILE`,
        true,
      );
    return serve({ config, lastGood: values['last-good'] === true, ...settings });
  },
};

const OF_CODE_ONLY = ['name', 'route-prefix', 'host', 'port', 'admin-port'] as const;

const portOf = (option: string, given: string | undefined): number | undefined => {
  if (given === undefined) return undefined;
  if (!/^\d{1,5}$/.test(given) || Number(given) > 65_535)
    throw new UsageError(`expected ${option} to be a port, 0 to 65535, got ${given}`);
  return Number(given);
};

/** @throws UsageError */
const originOfCode = (positionals: readonly string[], options: RunOptions): ConfigOrigin => {
  const [target, second] = readTargets(positionals);
  if (target === undefined || second !== undefined)
    throw new UsageError(`expected one application, got ${positionals.join(' ')}; a config file has several`);
  const folder = process.cwd();
  const module = locateTarget(target, folder, existsSync);
  return { path: `${module.file}:${module.export}`, folder, text: configOfRun(target, options) };
};

export interface ServeOptions {
  /** A file, absolute, or what stands for one. */
  readonly config: string | ConfigOrigin;
  readonly watchCode?: boolean;
  readonly lastGood?: boolean;
  readonly logLevel?: (typeof LEVELS)[number] | undefined;
  readonly stateDir?: string | undefined;
  /** Called once when every application is ready or has failed; `say` prints lines in order with the log. */
  readonly onReady?: (url: string | undefined, say: (lines: string) => void) => void;
}

/** A signal so soon after another is the same one. */
const SAME_SIGNAL_MS = 200;

/** Serves until a signal says stop. @returns the exit code */
export const serve = async (options: ServeOptions): Promise<number> => {
  const { config, watchCode = true, lastGood = false, logLevel, stateDir, onReady } = options;
  const origin = typeof config === 'string' ? originOf(config) : config;
  const since = performance.now();
  keepYoungSpaces();
  const terminal = terminalOf(process.stdout, process.env);
  let endDisplay = () => {};
  const report = reportTo(process.env, (error) => {
    void starting?.then(({ log }) => log.logger.warn({ error: error.message }, 'systemd cannot be told how the daemon is'));
  });
  let finish!: () => void;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
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
    void report?.stopping();
    const daemon = await starting?.catch(() => undefined);
    if (daemon === undefined) return;
    endDisplay();
    if (asked > 1) {
      code = 1;
      await daemon.destroy();
    } else await daemon.stop();
    await report?.stopping();
    finish();
  };
  process.on('SIGINT', () => void stop());
  process.on('SIGTERM', () => void stop());
  const lastResort = async (error: unknown) => {
    code = 1;
    const daemon = await starting?.catch(() => undefined);
    endDisplay();
    daemon?.log.logger.fatal({ err: error }, 'an error that nothing expected: stopping');
    if (daemon === undefined) process.stderr.write(`serve-daemon: ${error instanceof Error ? error.stack : String(error)}\n`);
    await daemon?.destroy();
    finish();
  };
  process.on('uncaughtException', (error) => void lastResort(error));
  process.on('unhandledRejection', (error) => void lastResort(error));
  // Windows ends a process some seconds after its console window was closed, and tells it by this signal.
  if (process.platform === 'win32') process.on('SIGHUP', () => void stop()).on('SIGBREAK', () => void stop());
  // Also while it starts: the signal would end the process.
  else process.on('SIGHUP', () => void starting?.then((daemon) => daemon.reload()).catch(() => {}));
  try {
    starting = startDaemon({
      config: origin,
      env: withoutNotify(process.env),
      stateDir,
      terminal,
      watchCode,
      logLevel,
      lastGood,
      onReload: (state) => (state === 'begins' ? report?.reloading() : report?.reloaded()),
    });
    const daemon = await starting;
    report?.follow(daemon, watchdogPeriodMs(process.env, process.pid));
    const { screen } = daemon.log;
    if (screen !== undefined && asked === 0) endDisplay = displayStartup(daemon, screen, terminal?.colours === true, since);
    void daemon.ready.then(() => {
      endDisplay();
      if (asked === 0) onReady?.(daemon.url, (text) => daemon.log.writeLines(text));
    });
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    const { message, diagnostics } = error;
    const ofCode = origin.text !== undefined && diagnostics.length > 0;
    process.stderr.write(ofCode ? mistakesOf(origin.path, diagnostics) : `serve-daemon could not start:\n${message}\n`);
    return 1;
  }
  await finished;
  report?.end();
  return code;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** @param failed told once */
const reportTo = (env: Environment, failed: (error: Error) => void): ServiceReport | undefined => {
  const manager = ServiceManager.from(env, failed);
  return manager === undefined ? undefined : new ServiceReport(manager);
};

/** Nothing that the daemon starts may speak to the service manager in its name. */
const withoutNotify = (env: Environment): Environment =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !NOTIFY_VARIABLES.some((each) => each === name)));

/** What is known of standard output, where it is a terminal. @see https://no-color.org */
const terminalOf = (out: NodeJS.WriteStream, env: Environment): Terminal | undefined =>
  out.isTTY
    ? {
        size: () => ({ columns: out.columns || 80, rows: out.rows || 24 }),
        colours: (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb',
        redraws: env['TERM'] !== 'dumb',
      }
    : undefined;
