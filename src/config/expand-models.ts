/** Folders of models become applications, one for each model: so each comes, fails, moves and goes by itself. Pure, but for the look. */
import { dirname, join } from 'node:path';
import type { ApplicationSpec, FoundModels } from '../domain/desired.ts';
import type { Diagnostic } from '../domain/diagnostic.ts';
import { type Decoded, decode } from './bounds.ts';
import { isRepository, modelMistakes } from './check-models.ts';
import { applicationsOf, type NamedFile, type SeenApplication } from './checking.ts';
import { type Finding, type Mapping, mappingOf, type Path, quote } from './finding.ts';
import { absolute, type Files } from './locate.ts';
import { overlay } from './overlay.ts';
import { MAX_PBTXT_BYTES, TOO_LARGE } from './pbtxt.ts';
import type { Places } from './places.ts';
import { type FoundModel, MODEL_NAME, type Repository } from './repository.ts';
import { modelApplication } from './resolve.ts';
import { Section } from './section.ts';
import { Source } from './source.ts';
import { CONFIG_NAME, readTritonConfig } from './triton-config.ts';

/** What was found in the folders of models that a config names. */
export interface Expanded extends FoundModels {
  readonly applications: readonly ApplicationSpec[];
  /** By application: where in the config it is spoken of. */
  readonly places: ReadonlyMap<string, Path>;
  /** About the config, and errors of one application each. */
  readonly findings: readonly Finding[];
  /** About files beside the models. */
  readonly diagnostics: readonly Diagnostic[];
  readonly named: readonly NamedFile[];
}

/** What is wrong with one model of a folder. */
const MODEL_REFUSED = 'MODEL_REFUSED';

/** @param data passed every check @param others applications as the config says them itself */
export const expandModels = (
  data: Mapping,
  others: readonly ApplicationSpec[],
  places: Places,
  files: Files,
  look: (folder: string) => Repository,
): Expanded => {
  const expansion = new Expansion(data, others, places, files);
  for (const seen of applicationsOf(data)) if (isRepository(seen)) expansion.add(seen, look);
  return expansion;
};

/** An application there takes the path away from the Open Inference Protocol. */
const INFERENCE = '/v2';

class Expansion implements Expanded {
  readonly applications: ApplicationSpec[] = [];
  readonly places = new Map<string, Path>();
  readonly findings: Finding[] = [];
  readonly diagnostics: Diagnostic[] = [];
  readonly named: NamedFile[] = [];
  readonly follows = new Map<string, readonly string[]>();
  readonly unseen = new Map<string, string>();
  readonly refused = new Map<string, string>();
  readonly #sections: readonly Section[];
  readonly #routes: ReadonlyMap<string, string>;
  readonly #written: Places;
  readonly #files: Files;

  constructor(data: Mapping, others: readonly ApplicationSpec[], written: Places, files: Files) {
    this.#sections = new Section(data).sections('applications');
    this.#routes = new Map(
      others.flatMap(({ name, routePrefix }) => (routePrefix === null ? [] : [[routePrefix, name] as const])),
    );
    this.#written = written;
    this.#files = files;
  }

  add(seen: SeenApplication, look: (folder: string) => Repository): void {
    const at = [...seen.path, 'models'];
    const models = mappingOf(seen.data.models) ?? {};
    const folder = absolute(String(models.path), this.#files);
    const found = look(folder);
    const owner = seen.name ?? '';
    // What is in a folder is seen to change where something in it is looked at.
    this.follows.set(owner, [folder, join(folder, CONFIG_NAME)]);
    const shown = this.#written.written([...at, 'path']) ?? quote(folder);
    const warn = (code: string, path: Path, message: string) => this.findings.push({ severity: 'warning', code, path, message });
    if ('problem' in found) {
      const problem = `the folder of models ${found.problem}`;
      this.unseen.set(owner, problem);
      this.follows.set(owner, [folder, join(folder, CONFIG_NAME), ...missingAbove(folder, this.#files)]);
      warn('NO_MODELS', [...at, 'path'], `${problem}, so none of it is served until it can be: looked for ${shown}`);
      return;
    }
    if (found.models.length === 0)
      warn(
        'NO_MODELS',
        [...at, 'path'],
        `there is no model in ${shown} yet: one is served when it comes, as <name>/1/model.onnx`,
      );
    if (found.left > 0) {
      const served = found.models.filter(({ name }) => MODEL_NAME.test(name)).length;
      const message = `expected at most ${served} models in ${shown}, got ${found.left} more, which are not served: divide them over several folders`;
      warn('TOO_MANY_MODELS', [...at, 'path'], message);
    }
    for (const model of found.models) {
      if (MODEL_NAME.test(model.name)) this.#model(model, seen, models);
      else {
        const message = `a model has the name of its folder: expected a letter, then letters, digits, \`_\` or \`-\`, at most 63 in all, got ${quote(model.name)} in ${shown}, which is not served: rename it`;
        warn('BAD_NAME', [...at, 'path'], message);
      }
    }
    for (const name of Object.keys(mappingOf(models.overrides) ?? {})) {
      if (found.models.some((model) => model.name === name)) continue;
      warn(
        'NO_SUCH_MODEL',
        [...at, 'overrides', name],
        `there is no model \`${name}\` in ${shown}: this says nothing until there is`,
      );
    }
  }

  #model(found: FoundModel, seen: SeenApplication, models: Mapping): void {
    const { name } = found;
    const owner = seen.name ?? '';
    const application = modelName(owner, name);
    const override = mappingOf(mappingOf(models.overrides)?.[name]);
    const at = [...seen.path, 'models', ...(override === undefined ? ['path'] : ['overrides', name])];
    this.places.set(application, at);
    this.follows.set(application, [found.folder, join(found.folder, CONFIG_NAME)]);
    const refuse = (message: string) => {
      this.findings.push({ severity: 'error', code: MODEL_REFUSED, path: at, message, application });
      this.refused.set(application, message);
    };
    const over = (fields: Mapping) => overlay(overlay(mappingOf(models.defaults) ?? {}, fields), override ?? {});
    let fields = over({});
    if (found.problem !== undefined) refuse(`the model \`${name}\` ${found.problem}`);
    else if (found.config !== undefined) {
      const told = this.#configOf(found, found.config, application);
      const combined = told === undefined ? fields : over(told);
      const under = [[...seen.path, 'models', 'defaults']];
      const checking = { places: this.#written, files: this.#files };
      const wrong = told === undefined ? [] : modelMistakes(combined, at, under, seen, checking);
      // What the config file alone says has been checked: these come of both together.
      for (const { message } of wrong) refuse(`${message} (\`${name}\`, with its ${CONFIG_NAME})`);
      if (wrong.length === 0) fields = combined;
    }
    const section = this.#sections[Number(seen.path[1])];
    if (section === undefined) throw new Error('an application that the check has seen is in the file');
    const spec = modelApplication(section, { application, name, path: found.path, within: found.root, fields }, this.#files);
    const taken = spec.routePrefix === null ? undefined : this.#takenBy(spec.routePrefix, owner);
    if (taken !== undefined)
      refuse(`the model \`${name}\` would be at \`${spec.routePrefix}\`, which is ${taken}: rename its folder`);
    // Whose path it is answers there, and nothing is said of this one in his place.
    this.applications.push(taken === undefined ? spec : { ...spec, routePrefix: null });
    const [deployment] = spec.deployments;
    if (deployment !== undefined) this.named.push({ path: at, application, runs: deployment.runs });
  }

  #takenBy(route: string, owner: string): string | undefined {
    const holder = this.#routes.get(route);
    if (holder !== undefined && holder !== owner) return `that of the application \`${holder}\``;
    return route === INFERENCE ? 'that of the Open Inference Protocol' : undefined;
  }

  /** @returns what it says; undefined: it is wrong */
  #configOf(found: FoundModel, content: Uint8Array, application: string): Mapping | undefined {
    const { text, finding } = content.byteLength > MAX_PBTXT_BYTES ? OVERSIZED : decode(content);
    const { fields, findings } = finding === undefined ? readTritonConfig(text, found.name) : { fields: {}, findings: [finding] };
    const source = new Source(join(found.folder, CONFIG_NAME), text);
    const diagnostics = findings.map((each) => source.diagnostic({ ...each, application }, each.offset));
    this.diagnostics.push(...diagnostics);
    const wrong = diagnostics.find(({ severity }) => severity === 'error');
    if (wrong === undefined) return fields;
    this.refused.set(application, `${CONFIG_NAME}:${wrong.line}:${wrong.column}: ${wrong.message}`);
    return undefined;
  }
}

/** Folders on the way to it that are not there either: one of them may come first. */
const missingAbove = (folder: string, files: Files): readonly string[] => {
  const missing: string[] = [];
  for (let at = dirname(folder); at !== dirname(at) && !files.exists(at); at = dirname(at)) missing.push(at);
  return missing;
};

/** Said before it is decoded: where it was cut off may be within a character. */
const OVERSIZED: Decoded = {
  text: '',
  finding: { severity: 'error', code: 'PBTXT_SYNTAX', path: [], message: TOO_LARGE, offset: 0 },
};

/** Names in the config have no dot: so it is nobody else's. */
const modelName = (repository: string, model: string): string => `${repository}.${model}`;
