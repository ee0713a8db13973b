/** `validate`: all that is wrong with a config file, without a daemon. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Compiled, compile } from '../config/compile.ts';
import { formatDiagnostics } from '../config/format.ts';
import { readRepository } from '../config/repository.ts';
import { fileProblems, findArtifacts } from '../control/artifacts.ts';
import { readCertificate } from '../control/certificate.ts';
import { stopCompiler } from '../control/code.ts';
import { readConfigFile } from '../control/config-file.ts';
import { byPlace } from '../control/goal.ts';
import { modelArtifact } from '../control/model-files.ts';
import { type PortsByDeployment, portsOfSteps } from '../control/model-ports.ts';
import { probe } from '../control/probe.ts';
import { type Artifact, makeTarget, type TargetApplication } from '../control/target.ts';
import type { DesiredState } from '../domain/desired.ts';
import type { FileProblem } from '../domain/diagnostic.ts';
import { detectMachine } from '../quota/machine.ts';
import { type Command, readArgs, UsageError } from './command.ts';

export const validate: Command = {
  summary: 'tell all errors and warnings of a config file',
  help: `serve-daemon validate <config> [--json] [--load]

Prints every error and warning with line, column and excerpt. Exits with 0 when there is none or warnings only, with 1 when there is an error
or the file cannot be read, with 2 for wrong usage.

  --json    an array of diagnostics
  --load    also start each deployment once, in a process of its own, and tell what does not become ready
`,
  run: async (args) => {
    const { values, positionals } = readArgs(args, { json: { type: 'boolean' }, load: { type: 'boolean' } });
    const [path] = positionals;
    if (path === undefined || positionals.length > 1) throw new UsageError('expected one config file');
    const file = resolve(path);
    let text: Uint8Array;
    try {
      text = await readConfigFile(file);
    } catch (error) {
      process.stderr.write(`serve-daemon: ${file} cannot be read: ${(error as Error).message}\n`);
      return 1;
    }
    const machine = detectMachine(process.env);
    const compiled = compile(text, { file, env: process.env, exists: existsSync, machine, look: readRepository });
    const load = values.load === true ? dirname(file) : undefined;
    const broken = [...(await lookInside(compiled, load)), ...(await lookAtCertificate(compiled))];
    const diagnostics = [...compiled.diagnostics, ...broken.map(compiled.diagnose)].sort(byPlace(file));
    const errors = diagnostics.filter(({ severity }) => severity === 'error').length;
    if (values.json) process.stdout.write(`${JSON.stringify(diagnostics, undefined, 2)}\n`);
    else
      process.stdout.write(
        `${diagnostics.length === 0 ? '' : `${formatDiagnostics(diagnostics)}\n`}${path}: ${errors} errors, ${diagnostics.length - errors} warnings\n`,
      );
    return errors > 0 ? 1 : 0;
  },
};

const lookAtCertificate = async ({ desired }: Compiled): Promise<readonly FileProblem[]> =>
  desired === undefined || desired.proxy.tls === null ? [] : (await readCertificate(desired.proxy.tls, Date.now())).problems;

/**
 * A cheap look at what the file names: code is parsed and its export found, a model's header is read. Nothing is run.
 * @param loadIn the folder of the config, where what is good so far is to be loaded too
 */
const lookInside = async (
  { named, desired, mismatches }: Compiled,
  loadIn: string | undefined,
): Promise<readonly FileProblem[]> => {
  const folder = mkdtempSync(join(tmpdir(), 'serve-validate-'));
  try {
    const ofFiles = await fileProblems(named, folder);
    const problems = [...ofFiles, ...(desired === undefined ? [] : mismatches(await portsOf(desired)))];
    if (loadIn === undefined || desired === undefined) return problems;
    return [...problems, ...(await loadAll(desired, folder, loadIn))];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/** Of models that steps call, as far as their files are right. */
const portsOf = async ({ applications }: DesiredState): Promise<PortsByDeployment> => {
  const found = new Map<string, Artifact>();
  for (const { name, deployments } of applications)
    for (const { name: deployment, runs } of deployments) {
      const artifact = runs.kind === 'model' ? await modelArtifact(runs).catch(() => undefined) : undefined;
      if (artifact !== undefined) found.set(`${name}/${deployment}`, artifact);
    }
  return portsOfSteps(applications, (application, deployment) => found.get(`${application}/${deployment}`));
};

/** Applications with files that are missing or broken are passed over: that has been told. */
const loadAll = async (desired: DesiredState, folder: string, configDir: string): Promise<readonly FileProblem[]> => {
  const targets = new Map<number, TargetApplication>();
  const compiled = new Map();
  for (const [index, spec] of desired.applications.entries()) {
    const { found, problems } = await findArtifacts(spec, folder, compiled);
    if (problems.size === 0) targets.set(index, makeTarget(spec, found, undefined));
  }
  await stopCompiler();
  return probe(targets, { entry: REPLICA, folder, env: process.env, configDir });
};

const REPLICA = fileURLToPath(new URL('../replica/main.js', import.meta.url));
