/** The daemon's log: readable lines on a terminal, JSON in a pipe. Access-log lines and what replicas print go through it too. */
import { type Logger, pino } from 'pino';
import type { LoggingSpec } from '../domain/desired.ts';
import { type LogRules, numberOf } from '../domain/logging.ts';
import { aboutOf, fileOf } from './about.ts';
import { LogFiles } from './log-files.ts';
import { RecentLines } from './recent.ts';
import { Screen, type ScreenSize } from './screen.ts';

/** What standard output is, where it is a terminal. */
export interface Terminal {
  readonly size: () => ScreenSize;
  readonly colours: boolean;
  /** It obeys more than newlines. */
  readonly redraws: boolean;
}

export interface DaemonLog {
  readonly logger: Logger;
  /** How lines are written. */
  readonly encoding: 'TEXT' | 'JSON';
  /** The config wants them otherwise, at another level, or elsewhere. */
  configure(rules: LogRules): Promise<void>;
  /** The last of what was logged; finished lines, as those of requests, are not in it. */
  readonly recent: RecentLines;
  /** Where lines are for people, on a terminal that can be drawn on: everything written here passes above what is drawn. */
  readonly screen: Screen | undefined;
  /** Finished lines, newline at each end; to standard output alone. */
  writeLines(lines: string): void;
  /** Finished lines of requests. @param application whose they are, where it logs in a way of its own */
  writeRequests(lines: string, application: string | undefined): void;
  /** @param ids of the replicas that live: their files stay. Asked now and then */
  knowReplicas(ids: () => readonly string[]): void;
  /** Resolves when everything written so far is with the system, or nobody takes it. */
  written(): Promise<void>;
  /** The same at once, for a process that is about to end. It may overtake what is being written: await `written` where there is time. */
  flush(): void;
}

/** A reader that takes nothing must not hold up the end. */
const WRITTEN_WITHIN_MS = 2000;
/** Lines that wait for a log that takes none; further ones are lost. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024;

/** @param terminal undefined: standard output is none; decides on the encoding where the config does not */
export const openLog = async (first: LogRules, terminal: Terminal | undefined): Promise<DaemonLog> => {
  const out = pino.destination({ fd: 1, sync: false, maxLength: MAX_KEPT_BYTES });
  const failing = { error: undefined as string | undefined };
  // A disk that is full must not end the daemon: what could not be written is kept, within bounds, and tried again with the next line.
  out.on('error', (error: Error) => {
    failing.error = error.message;
  });
  // Until a write succeeds, a synchronous one would try for ever, and nothing else would happen meanwhile.
  const flushSync = out.flushSync.bind(out);
  out.flushSync = () => {
    if (failing.error === undefined) flushSync();
  };
  let writing = false;
  out.on('drain', () => {
    writing = false;
  });
  const write = (text: string) => {
    writing = true;
    out.write(text);
  };
  const drawable = terminal?.redraws ? new Screen(write, terminal.size) : undefined;
  let encoding: 'TEXT' | 'JSON' = 'JSON';
  const screen = () => (encoding === 'TEXT' ? drawable : undefined);
  const writeLines = (lines: string) => {
    const shown = screen();
    if (shown === undefined) write(lines);
    else shown.print(lines);
  };
  const encodingOf = (wanted: LoggingSpec['encoding']) => wanted ?? (terminal === undefined ? 'JSON' : 'TEXT');
  let rules = first;
  let pretty: Pretty | undefined;
  const recent = new RecentLines();
  const files = new LogFiles((path, error) => logger.warn({ path, error: error.message }, FILE_FAILED));
  const tell = (line: string, asText: boolean) => {
    recent.add(line);
    if (asText && pretty !== undefined) writeLines(pretty.shown(line));
    else write(line);
  };
  /** By what it is about: whether it is told at all, how, and where. */
  const tellApart = (line: string) => {
    const { level, application, deployment, file } = aboutOf(line);
    const rule = application === undefined ? rules.daemon : rules.of(application, deployment);
    if (level < numberOf(rule.level)) return;
    const asText = encodingOf(rule.encoding) === 'TEXT';
    tell(line, asText);
    if (rule.directory !== null) files.write(rule.directory, file, asText && pretty !== undefined ? pretty.kept(line) : line);
  };
  const stream = { write: (line: string) => (rules.isUniform ? tell(line, encoding === 'TEXT') : tellApart(line)) };
  const logger = pino({ level: first.lowest, base: null }, stream);
  const configure = async (next: LogRules) => {
    if (next.usesText(encodingOf(null))) pretty ??= await prettier(terminal);
    rules = next;
    encoding = encodingOf(next.daemon.encoding);
    logger.level = next.lowest;
  };
  await configure(first);
  out.on('write', () => {
    const { error } = failing;
    failing.error = undefined;
    if (error !== undefined) logger.warn({ error }, 'the log could not be written for a while: lines may be missing');
  });
  return {
    logger,
    get encoding() {
      return encoding;
    },
    configure,
    recent,
    get screen() {
      return screen();
    },
    writeLines,
    writeRequests: (lines, application) => {
      writeLines(lines);
      if (application === undefined) return;
      const { directory } = rules.of(application);
      if (directory !== null) files.write(directory, fileOf(application), lines);
    },
    knowReplicas: (ids) => {
      files.isAlive = (name) => ids().some((id) => fileOf(...id.split('/')) === name);
    },
    written: async () => {
      await files.written();
      await new Promise<void>((resolve) => {
        if (!writing) return resolve();
        const late = setTimeout(resolve, WRITTEN_WITHIN_MS);
        out.once('drain', () => {
          clearTimeout(late);
          resolve();
        });
      });
    },
    flush: () => {
      try {
        out.flushSync();
      } catch {
        // Not open yet, or the reader has gone: there is nobody to tell.
      }
    },
  };
};

const FILE_FAILED = 'a log file cannot be written: its lines are on standard output only, and it is tried again in 10 s';

/** Lines for people. */
interface Pretty {
  readonly shown: (line: string) => string;
  /** In a file: with the day, without colours. */
  readonly kept: (line: string) => string;
}

/** Loaded only where people read. */
const prettier = async (terminal: Terminal | undefined): Promise<Pretty> => {
  const { prettyFactory } = await import('pino-pretty');
  const options = { ignore: 'pid,hostname', singleLine: true } as const;
  return {
    shown: prettyFactory({ ...options, colorize: terminal?.colours === true, translateTime: 'SYS:HH:MM:ss.l' }),
    kept: prettyFactory({ ...options, colorize: false, translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l' }),
  };
};

const LEVELS: Readonly<Record<number, 'debug' | 'info' | 'warn' | 'error'>> = {
  10: 'debug',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'error',
};

/** A line that a replica printed: what its own log wrote keeps level and fields, anything else is told as it is. */
export const logReplicaLine = (logger: Logger, replica: string, stream: 'stdout' | 'stderr', line: string): void => {
  if (line.startsWith('{"level":')) {
    try {
      const { level, time: _time, msg, ...fields } = JSON.parse(line) as { level: number; time: unknown; msg: unknown };
      return logger[LEVELS[level] ?? 'info']({ ...fields, replica }, String(msg));
    } catch {
      // Looks like a line of the log and is none.
    }
  }
  logger[stream === 'stderr' ? 'warn' : 'info']({ replica, stream }, line);
};
