/** Reads `Deployment`, `Deployment.method` and `application/Deployment.method`. */
import type { CallTarget } from '../domain/graph.ts';
import { suggestion } from './nearest.ts';
import type { KnownApplication, Path, Report } from './source.ts';

const CALL = /^(?:([^/.\s]+)\/)?([^/.\s]+)(?:\.([A-Za-z_$][\w$]*))?$/;

/** @returns undefined when a mistake was reported */
export const callTarget = (
  call: string,
  path: Path,
  application: KnownApplication,
  all: readonly KnownApplication[],
  report: Report,
): CallTarget | undefined => {
  const [matched, named = application.name, deployment = '', method = 'call'] = CALL.exec(call) ?? [];
  if (matched === undefined) {
    report(
      'BAD_CALL',
      path,
      `expected \`Deployment\`, \`Deployment.method\` or \`application/Deployment.method\`, got \`${call}\``,
    );
    return undefined;
  }
  const callee = named === application.name ? application : all.find((known) => known.name === named);
  if (callee === undefined) {
    const names = all.map((known) => known.name);
    report(
      'UNKNOWN_APPLICATION',
      path,
      `\`${call}\`: there is no application \`${named}\`${suggestion(named, names, 'applications')}`,
    );
    return undefined;
  }
  if (callee.isFolder) {
    const message = `\`${call}\`: the models of \`${callee.name}\` are found in a folder, and come and go with it: name the one that is called as a deployment with \`model\``;
    report('UNKNOWN_DEPLOYMENT', path, message);
    return undefined;
  }
  if (!callee.deployments.includes(deployment)) {
    const elsewhere = all.find((known) => known !== callee && known.deployments.includes(deployment));
    const hint = elsewhere
      ? `; did you mean \`${elsewhere.name}/${deployment}\`?`
      : suggestion(deployment, callee.deployments, 'deployments');
    report('UNKNOWN_DEPLOYMENT', path, `\`${call}\`: there is no deployment \`${deployment}\` in \`${callee.name}\`${hint}`);
    return undefined;
  }
  return { application: callee.name, deployment, method };
};

export const isSameTarget = (a: CallTarget, b: CallTarget): boolean =>
  a.application === b.application && a.deployment === b.deployment && a.method === b.method;
