/** What the models that steps of graphs call take and give, as their files say it: for checks before anything serves. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { ApplicationSpec } from '../domain/desired.ts';
import { targetsOf } from '../domain/graph.ts';
import type { ModelPort, ModelPorts } from '../domain/model.ts';
import { type FilePort, portsOfFile } from '../protocol/onnx-file.ts';
import type { Artifact } from './target.ts';

/** By `application/Deployment`. Of code, and of a model whose file says too little, nothing. */
export type PortsByDeployment = ReadonlyMap<string, ModelPorts>;

/** @param artifactOf what a deployment of an application runs, where it could be found */
export const portsOfSteps = (
  applications: readonly ApplicationSpec[],
  artifactOf: (application: string, deployment: string) => Artifact | undefined,
): PortsByDeployment => {
  const ports = new Map<string, ModelPorts>();
  for (const { ingress } of applications) {
    const steps = ingress.kind === 'graph' ? ingress.graph.steps : [];
    for (const { application, deployment } of steps.flatMap(targetsOf)) {
      const key = `${application}/${deployment}`;
      const artifact = ports.has(key) ? undefined : artifactOf(application, deployment);
      const own = artifact && portsOfArtifact(artifact);
      if (own !== undefined) ports.set(key, own);
    }
  }
  return ports;
};

/** By path, of the model as it was then: a file may be large, and stays as it is while configs come and go. */
const known = new Map<string, { readonly fingerprint: string; readonly ports: ModelPorts | undefined }>();
const MAX_KNOWN = 10_000;

const portsOfArtifact = ({ runs, fingerprint }: Artifact): ModelPorts | undefined => {
  // Handles and steps call the newest version.
  const path = runs.kind === 'model' ? runs.versions.at(-1)?.path : undefined;
  if (path === undefined) return undefined;
  const before = known.get(path);
  if (before?.fingerprint === fingerprint) return before.ports;
  const ports = readPorts(path);
  known.delete(path);
  known.set(path, { fingerprint, ports });
  for (const oldest of known.keys()) {
    if (known.size <= MAX_KNOWN) break;
    known.delete(oldest);
  }
  return ports;
};

/** Heads of fields stand close together in most of a file. */
const WINDOW_BYTES = 4096;

const readPorts = (path: string): ModelPorts | undefined => {
  let file: number | undefined;
  try {
    const opened = openSync(path, 'r');
    file = opened;
    let window = Buffer.alloc(0);
    let from = 0;
    const read = (at: number, length: number): Buffer => {
      if (at < from || at + length > from + window.length) {
        const bytes = Buffer.alloc(Math.max(length, WINDOW_BYTES));
        window = bytes.subarray(0, readSync(opened, bytes, 0, bytes.length, at));
        from = at;
      }
      return window.subarray(at - from, at - from + length);
    };
    const found = portsOfFile(read, fstatSync(opened).size);
    const inputs = portsOf(found?.inputs.filter(({ name }) => !found.given.has(name)));
    const outputs = portsOf(found?.outputs);
    return inputs && outputs && { inputs, outputs };
  } catch {
    // Who loads it says what is wrong with it.
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
};

/** Of a model with an input or output that no replica serves, the replica says so. */
const portsOf = (ports: readonly FilePort[] | undefined): readonly ModelPort[] | undefined =>
  ports?.every((port): port is FilePort & ModelPort => port.name !== '' && port.dtype !== undefined) ? ports : undefined;
