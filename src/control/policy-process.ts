/**
 * An autoscaling policy of the user in a process of its own: asked with each report of the load, never waited for. One that throws, says
 * nonsense, hangs or dies is told of, and until it answers again it wants nothing, so that the last target stays.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Json } from '../domain/json.ts';
import type { FromPolicy, ToPolicy } from '../protocol/policy.ts';
import { MEANS } from './launch.ts';
import { LineSplitter } from './lines.ts';
import { backoffMs } from './restart.ts';

export interface PolicyProcessOptions<Wish> {
  /** The program that runs policies. */
  readonly program: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly code: { readonly entry: string; readonly export: string };
  readonly kwargs: Readonly<Record<string, Json>>;
  /** What an answer says; a text: what is wrong with it. */
  readonly read: (answer: unknown) => { readonly wish: Wish } | string;
  readonly onLine: (stream: 'stdout' | 'stderr', line: string) => void;
  /** Told when it begins to fail, and when it fails in another way. */
  readonly onProblem: (problem: string) => void;
  readonly answerWithinMs?: number;
}

const ANSWER_WITHIN_MS = 5000;

export class PolicyProcess<Wish> {
  readonly #options: PolicyProcessOptions<Wish>;
  #child: ChildProcess | undefined;
  /** Set while it owes an answer. */
  #late: NodeJS.Timeout | undefined;
  #wish: Wish | undefined;
  #problem: string | undefined;
  #deaths = 0;
  #notBefore = 0;
  #closed = false;

  constructor(options: PolicyProcessOptions<Wish>) {
    this.#options = options;
  }

  /** What is wrong with it now. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** @returns what it wanted last; undefined: it wants nothing */
  ask(question: Exclude<ToPolicy, { type: 'load' }>): Wish | undefined {
    if (this.#closed || this.#late !== undefined || performance.now() < this.#notBefore) return this.#wish;
    this.#child ??= this.#spawn();
    const within = this.#options.answerWithinMs ?? ANSWER_WITHIN_MS;
    this.#late = setTimeout(() => this.#died(`it did not answer within ${within / 1000} s`), within);
    this.#send(question);
    return this.#wish;
  }

  close(): void {
    this.#closed = true;
    this.#end();
  }

  #spawn(): ChildProcess {
    const { program, cwd, env, code, kwargs, onLine } = this.#options;
    const [file = process.execPath, ...args] = [...MEANS.endsWithUs, process.execPath, program];
    const child = spawn(file, args, { cwd, env: env as NodeJS.ProcessEnv, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    for (const name of ['stdout', 'stderr'] as const) {
      const lines = new LineSplitter((line) => onLine(name, line));
      child[name]?.on('data', (chunk: Buffer) => lines.push(chunk));
      child[name]?.on('end', () => lines.end());
    }
    child.on('message', (message) => {
      if (child === this.#child) this.#take(message as FromPolicy);
    });
    child.on('error', (error) => {
      if (child === this.#child) this.#died(`its process failed: ${error.message}`);
    });
    child.on('exit', (exitCode, signal) => {
      if (child === this.#child) this.#died(`its process ended with ${signal ?? `exit code ${exitCode}`}`);
    });
    this.#child = child;
    this.#send({ type: 'load', entry: code.entry, export: code.export, kwargs });
    return child;
  }

  #send(message: ToPolicy): void {
    // A failure to send is a death, and told as one.
    this.#child?.send(message, () => {});
  }

  /** What a process of the user sends may be anything. */
  #take(message: Partial<Record<'type' | 'replicas' | 'error', unknown>> | null): void {
    if (this.#late === undefined) return;
    clearTimeout(this.#late);
    this.#late = undefined;
    const { type, replicas, error } = message ?? {};
    if (type !== 'answer') return this.#fail(`it threw ${String(error)}`);
    const answer = this.#options.read(replicas);
    if (typeof answer === 'string') return this.#fail(answer);
    this.#wish = answer.wish;
    this.#problem = undefined;
    this.#deaths = 0;
  }

  #died(problem: string): void {
    this.#end();
    this.#deaths += 1;
    this.#notBefore = performance.now() + backoffMs(this.#deaths, Math.random());
    this.#fail(problem);
  }

  #fail(problem: string): void {
    this.#wish = undefined;
    if (this.#problem !== problem) this.#options.onProblem(problem);
    this.#problem = problem;
  }

  #end(): void {
    clearTimeout(this.#late);
    this.#late = undefined;
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
  }
}
