/** The daemon's log: readable lines on a terminal, JSON in a pipe. Access-log lines and what replicas print go through it too. */
import { type Logger, pino } from 'pino';
import type { LoggingSpec } from '../domain/desired.ts';
import { RecentLines } from './recent.ts';

export interface DaemonLog {
  readonly logger: Logger;
  /** How lines are written. */
  readonly encoding: 'TEXT' | 'JSON';
  /** The config wants them otherwise. */
  encode(wanted: LoggingSpec['encoding']): Promise<void>;
  /** The last of what was logged; finished lines, as those of requests, are not in it. */
  readonly recent: RecentLines;
  /** Finished lines, newline at each end. */
  writeLines(lines: string): void;
  /** Everything written so far is with the system. */
  flush(): void;
}

/** @param terminal whether standard output is one; decides where the config does not */
export const openLog = async (spec: Pick<LoggingSpec, 'encoding' | 'level'>, terminal: boolean): Promise<DaemonLog> => {
  const out = pino.destination({ fd: 1, sync: false });
  let encoding: 'TEXT' | 'JSON' = 'JSON';
  let write = (line: string): void => void out.write(line);
  const encode = async (wanted: LoggingSpec['encoding']) => {
    encoding = wanted ?? (terminal ? 'TEXT' : 'JSON');
    write = encoding === 'JSON' ? (line) => void out.write(line) : await readable(out, terminal);
  };
  await encode(spec.encoding);
  const recent = new RecentLines();
  const stream = {
    write: (line: string) => {
      recent.add(line);
      write(line);
    },
  };
  return {
    recent,
    logger: pino({ level: spec.level, base: null }, stream),
    get encoding() {
      return encoding;
    },
    encode,
    writeLines: (lines) => void out.write(lines),
    flush: () => {
      try {
        out.flushSync();
      } catch {
        // Not open yet, or the reader has gone: there is nobody to tell.
      }
    },
  };
};

const readable = async (out: { write(text: string): boolean }, terminal: boolean): Promise<(line: string) => void> => {
  // Loaded only where people read.
  const { prettyFactory } = await import('pino-pretty');
  const pretty = prettyFactory({
    colorize: terminal,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname',
    singleLine: true,
  });
  return (line) => void out.write(pretty(line));
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
