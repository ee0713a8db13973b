/** Texts of configs as people wrote them: what they say with no variable replaced, and new texts made of old ones. */
import { type Document, isMap, type Node, parseDocument, visit } from 'yaml';
import type { Json } from '../domain/json.ts';
import { configSchema } from './schema.ts';

const read = (text: string) => parseDocument(text, { version: '1.2', schema: 'core', merge: true, uniqueKeys: false });

/** As it stands in the text: `${NAME}` is `${NAME}`. @param text valid */
export const asWritten = (text: string): { readonly [key: string]: Json } => read(text).toJS({ maxAliasCount: -1 }) ?? {};

/** Sections that say where the daemon listens. */
const LISTENERS = Object.entries(configSchema.properties ?? {}).flatMap(([key, node]) =>
  node['x-weight'] === 'restart-listener' ? [key] : [],
);

/**
 * What is asked over the admin API speaks of applications; where the daemon listens stays as it is, unless it says that too. So that a
 * tool made for Ray Serve, which sends applications alone, does not take the token away or move a port.
 * @param current what is applied; both texts are valid
 */
export const withListenersOf = (text: string, current: string): string => {
  const [document, served] = [read(text), read(current)];
  const missing = LISTENERS.filter((key) => !document.has(key) && served.has(key));
  if (missing.length === 0 || !isMap(document.contents)) return text;
  // Within `{…}` a `${NAME}` would have to be quoted, and would be no number any more.
  document.contents.flow = false;
  for (const key of missing) document.set(key, ownNode(served, key));
  return document.toString({ lineWidth: 0 });
};

/** The same daemon, with nothing to serve. */
export const withoutApplications = (current: string): string => {
  const document = read(current);
  if (!isMap(document.contents)) return current;
  document.contents.flow = false;
  document.set('applications', []);
  // What an alias meant may have gone with them.
  const before = read(current);
  for (const key of Object.keys(asWritten(current))) if (key !== 'applications') document.set(key, ownNode(before, key));
  return document.toString({ lineWidth: 0 });
};

/** As it is written, quotes included, which say what a `${NAME}` may become; with what its aliases mean in their place. */
const ownNode = (document: Document, key: string): unknown => {
  const node = document.get(key, true);
  let aliased = false;
  visit(document.get(key, true) as Node, {
    Alias: () => {
      aliased = true;
      return visit.BREAK;
    },
  });
  if (!aliased) return node;
  return document.createNode((document.toJS({ maxAliasCount: -1 }) as Record<string, unknown>)[key]);
};
