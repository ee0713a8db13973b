/** An application that code builds, as a file says it that says everything: the reverse of `fillIn`. Pure. */
import type { Json } from '../domain/json.ts';
import type { ToldApplication } from './from-code.ts';

/** What is known of it without its code. */
export interface NamedApplication {
  readonly name: string;
  readonly routePrefix: string;
  readonly importPath: string;
  readonly args: Readonly<Record<string, Json>>;
}

/** @returns one of `applications` */
export const spellOut = (
  { name, routePrefix, importPath, args }: NamedApplication,
  { deployments, ingress, bare }: ToldApplication,
): { readonly [key: string]: Json } => {
  const about = { name, route_prefix: routePrefix };
  if (bare === true) return { ...about, deployments: deployments.map((each) => ({ name: each.name, import_path: importPath })) };
  const calls = deployments.filter(({ handles }) => Object.keys(handles).length > 0);
  return {
    ...about,
    import_path: importPath,
    ...(Object.keys(args).length === 0 ? {} : { args }),
    deployments: deployments.map((each) => ({ name: each.name, ...each.options })),
    ...(calls.length === 0
      ? {}
      : { graph: { ingress, calls: Object.fromEntries(calls.map((each) => [each.name, each.handles])) } }),
  };
};
