/** Checks what a schema cannot say about the file as a whole: unique names and routes, listeners, the admin token. */
import { checkApplicationCode, checkApplicationPolicy, checkDeployment, checkWorkingDir } from './check-deployment.ts';
import { checkGraphs, type Graphs } from './check-graph.ts';
import { checkKeepAlive, checkTls } from './check-http.ts';
import { checkModels, isRepository } from './check-models.ts';
import { applicationsOf, type Checking, checkingOf, type NamedFile } from './checking.ts';
import { type Finding, type Mapping, mappingOf, type Path } from './finding.ts';
import type { Files } from './locate.ts';
import type { Places } from './places.ts';

export interface Checked {
  readonly findings: readonly Finding[];
  readonly graphs: Graphs;
  readonly named: readonly NamedFile[];
}

/**
 * @param shape what the shape check found; no finding is built on a value that it called wrong
 * @param pending applications whose code has not told yet what they consist of
 */
export const check = (
  data: Mapping,
  places: Places,
  files: Files,
  shape: readonly Finding[],
  pending: ReadonlySet<number> = new Set(),
): Checked => {
  const findings: Finding[] = [];
  const checking = checkingOf(places, files, shape, findings);
  const applications = applicationsOf(data);
  checkListeners(data, checking);
  checkTls(data, checking);
  checkKeepAlive(data, checking);
  checkUnique(
    applications.map(namesOf),
    'DUPLICATE_NAME',
    (name) => `expected a \`name\` of its own for each application, got ${name} twice`,
    checking,
  );
  checkUnique(
    applications.map(({ data: app, path }) => ({
      value: app.route_prefix === undefined ? checking.byDefault([...path, 'route_prefix']) : app.route_prefix,
      path: [...path, 'route_prefix'],
    })),
    'DUPLICATE_ROUTE',
    (route) => `expected a \`route_prefix\` of its own for each application, got ${route} twice; \`null\` keeps one off HTTP`,
    checking,
  );
  for (const application of applications) {
    checkUnique(
      application.deployments.map(namesOf),
      'DUPLICATE_NAME',
      (name) => `expected a \`name\` of its own for each deployment, got ${name} twice in this application`,
      checking,
    );
    checkWorkingDir(application.data, application.path, application, checking);
    checkApplicationPolicy(application, checking);
    checkApplicationCode(application, checking);
    if (isRepository(application)) checkModels(application, checking);
    for (const deployment of application.deployments) checkDeployment(deployment, application, checking);
  }
  return { graphs: checkGraphs(applications, checking, pending), named: checking.named, findings };
};

const namesOf = ({ name, path }: { name: string | undefined; path: Path }) => ({ value: name, path: [...path, 'name'] });

const checkUnique = (
  values: readonly { value: unknown; path: Path }[],
  code: string,
  message: (shown: string) => string,
  { places, error }: Checking,
): void => {
  const first = new Map<string, Path>();
  for (const { value, path } of values) {
    if (typeof value !== 'string') continue;
    const before = first.get(value);
    if (before === undefined) first.set(value, path);
    else error(code, path, message(places.written(path) ?? places.written(before) ?? `\`${value}\``));
  }
};

const checkListeners = (data: Mapping, checking: Checking): void => {
  const { error, meant, show, places } = checking;
  const optionOf = (section: string, key: string): unknown =>
    mappingOf(data[section])?.[key] ?? checking.byDefault([section, key]);
  const [http, admin] = [optionOf('http_options', 'port'), optionOf('admin_options', 'port')];
  if (data.proxy_location !== 'Disabled' && http === admin && typeof http === 'number' && http !== 0) {
    const path = [mappingOf(data.admin_options)?.port === undefined ? 'http_options' : 'admin_options', 'port'];
    const shown = places.written(['http_options', 'port']) ?? show(path, http);
    error(
      'PORT_TWICE',
      path,
      `expected a port of its own for each listener, got ${shown} for HTTP and the admin API; give one of them another (0: a free one)`,
    );
  }
  const host = optionOf('admin_options', 'host');
  const token = mappingOf(data.admin_options)?.token;
  const isGiven = token !== undefined && token !== null;
  if (
    typeof host === 'string' &&
    !isLoopback(host) &&
    !isGiven &&
    !checking.wrong(['admin_options', 'token']) &&
    !meant(['admin_options', 'token'])
  ) {
    const message = `expected a \`token\`, or a loopback \`host\`, got a host that other machines reach (${show(['admin_options', 'host'], host)}) and no token`;
    error('TOKEN_NEEDED', ['admin_options', 'host'], message);
  }
};

/** Whether only this machine can reach the host. */
const isLoopback = (host: string): boolean => /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i.test(host);
