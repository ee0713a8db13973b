/** Reads YAML nodes into plain data: aliases and merges written out, variables replaced, every key and value with its place. */
import { isAlias, isCollection, isMap, isPair, isScalar, isSeq, type Node, type ParsedNode, type Scalar } from 'yaml';
import { MAX_DEPTH, MAX_TOKENS, tooDeep } from './bounds.ts';
import { type Environment, readScalar, substitute } from './environment.ts';
import { type Finding, type Mapping, type Path, quote } from './finding.ts';
import { Places } from './places.ts';

export const startOf = (node: unknown): number | undefined => (node as Partial<ParsedNode> | null)?.range?.[0];

/** Ends the reading at once, from however deep: aliases written out grew past a bound, or never end. */
export class Overflow extends Error {
  readonly finding: Finding;
  constructor(finding: Finding) {
    super(finding.message);
    this.finding = finding;
  }
}

/** Every alias is written out as a copy of its own, so that a value has one path; the bounds hold for what comes out. */
export class Reader {
  readonly places = new Places();
  readonly #environment: Environment;
  readonly #findings: Finding[];
  /** The last node so far of each anchor. */
  readonly #anchors = new Map<string, Node>();
  /** What an alias meant where it stands, also when it is read again as part of a copy. */
  readonly #targets = new Map<Node, Node>();
  /** Nodes met before: a copy of one is no new definition of its anchor. */
  readonly #seen = new Set<Node>();
  /** Nodes that are being read, from the root down to here. */
  readonly #open = new Set<Node>();
  /** Scalars whose value came from the environment; what is shown for them is what stands in the file. */
  readonly #fromEnvironment = new Set<Scalar>();
  #values = 0;

  constructor(environment: Environment, findings: Finding[]) {
    this.#environment = environment;
    this.#findings = findings;
  }

  read(node: unknown, path: Path, depth: number): unknown {
    if (isAlias(node)) {
      const target = this.#targetOf(node);
      return target === undefined ? null : this.read(target, path, depth);
    }
    if (++this.#values > MAX_TOKENS) {
      const message = `expected at most ${MAX_TOKENS.toLocaleString('en')} values when aliases are written out, got more`;
      throw new Overflow({ severity: 'error', code: 'TOO_LARGE', path: [], message, offset: startOf(node) ?? 0 });
    }
    if (isScalar(node)) {
      this.#remember(node);
      return this.#scalar(node, path);
    }
    if (!isCollection(node)) return null;
    this.#remember(node);
    if (depth >= MAX_DEPTH) throw new Overflow(tooDeep(startOf(node) ?? 0));
    return this.#within(node, () => {
      if (isMap(node)) return this.#fill(Object.create(null) as Mapping, node, path, depth);
      const list: unknown[] = [];
      for (const item of node.items) {
        const at = startOf(item) ?? 0;
        const index = list.length;
        this.places.set(list, index, at, at);
        list.push(this.#item(list, index, item, [...path, index], depth));
      }
      return list;
    });
  }

  #item(holder: object, key: string | number, node: unknown, path: Path, depth: number): unknown {
    const value = this.read(node, path, depth + 1);
    const target = isAlias(node) ? this.#targets.get(node) : node;
    if (isScalar(target) && this.#fromEnvironment.has(target)) this.places.hide(holder, key, quote(String(target.value)));
    return value;
  }

  /** Own keys win over merged ones wherever they stand; of several merged mappings the first wins. */
  #fill(mapping: Mapping, node: Node, path: Path, depth: number): Mapping {
    if (!isMap(node)) return mapping;
    const own = new Map<string, number>();
    const keys = node.items.map((pair) => this.#key(pair.key, path));
    node.items.forEach((pair, index) => {
      const key = keys[index];
      if (key === undefined) return;
      const first = own.get(isMergeKey(pair.key) ? '<<' : key);
      const at = startOf(pair.key) ?? 0;
      if (first !== undefined) {
        const hint = isMergeKey(pair.key) ? '; several mappings are merged with `<<: [*a, *b]`' : '';
        this.#report(
          'DUPLICATE_KEY',
          `expected each key once, got ${quote(key)} twice in this mapping; keep one${hint}`,
          [...path, key],
          at,
        );
      } else own.set(key, at);
    });
    node.items.forEach((pair, index) => {
      const key = keys[index];
      if (key === undefined || !isPair(pair)) return;
      if (isMergeKey(pair.key)) {
        this.#merge(mapping, own, pair.value, path, depth);
        return;
      }
      const at = startOf(pair.key) ?? 0;
      const empty = !isScalar(pair.value) || pair.value.source === '';
      const valueAt = (isScalar(pair.value) && empty ? undefined : startOf(pair.value)) ?? at;
      this.places.set(mapping, key, at, valueAt);
      mapping[key] = this.#item(mapping, key, pair.value, [...path, key], depth);
    });
    return mapping;
  }

  #merge(mapping: Mapping, own: ReadonlyMap<string, number>, value: unknown, path: Path, depth: number): void {
    const target = isAlias(value) ? this.#targetOf(value) : (value as Node);
    if (isSeq(target)) {
      for (const item of target.items) this.#merge(mapping, own, item, path, depth);
      return;
    }
    if (!isMap(target)) {
      if (target !== undefined)
        this.#report(
          'BAD_MERGE',
          'expected a mapping, or a list of mappings, to merge with `<<`, got something else',
          path,
          startOf(value) ?? 0,
        );
      return;
    }
    this.#remember(target);
    const merged = this.#within(target, () => this.#fill(Object.create(null) as Mapping, target, path, depth));
    for (const [key, inherited] of Object.entries(merged)) {
      if (own.has(key) || key in mapping) continue;
      mapping[key] = inherited;
      this.places.copy(merged, mapping, key);
    }
  }

  #key(node: unknown, path: Path): string | undefined {
    if (isScalar(node) && node.value !== null)
      return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
    this.#report(
      'BAD_KEY',
      'expected text for a key, got none or a collection; is something missing before the `:`?',
      path,
      startOf(node) ?? 0,
    );
    return undefined;
  }

  #scalar(node: Scalar, path: Path): unknown {
    const at = startOf(node) ?? 0;
    let value: unknown = node.value;
    let written = node.source ?? '';
    if (typeof value === 'string') {
      const substituted = substitute(value, this.#environment);
      if (substituted === undefined) return value;
      if (!substituted.ok) {
        this.#report(substituted.code, substituted.message, path, at);
        return null;
      }
      if (substituted.fromEnvironment) this.#fromEnvironment.add(node);
      written = substituted.text;
      value = substituted.whole && node.type === 'PLAIN' ? readScalar(written) : written;
    }
    if (typeof value !== 'number') return value;
    if (!Number.isFinite(value)) {
      this.#report(
        'BAD_NUMBER',
        'expected a number, got infinity or not-a-number; write `null` where there is to be no bound',
        path,
        at,
      );
    } else if (Number.isInteger(value) && !Number.isSafeInteger(value) && !/[.eE]/.test(written.replace(/^0x/, ''))) {
      this.#report(
        'BAD_NUMBER',
        'expected an integer up to 9007199254740991, got a larger one, which would not be kept exactly; put it in quotes to keep it as text',
        path,
        at,
      );
    } else return value;
    return null;
  }

  #targetOf(alias: Node & { source: string }): Node | undefined {
    const target = this.#targets.get(alias) ?? this.#anchors.get(alias.source);
    if (target === undefined) {
      this.#report(
        'UNKNOWN_ALIAS',
        `expected an anchor ${quote(`&${alias.source}`)} before this alias, got none`,
        [],
        startOf(alias) ?? 0,
      );
      return undefined;
    }
    if (this.#open.has(target)) {
      const message = `expected an end, got the alias ${quote(`*${alias.source}`)} inside of what it refers to`;
      throw new Overflow({ severity: 'error', code: 'ALIAS_CYCLE', path: [], message, offset: startOf(alias) ?? 0 });
    }
    this.#targets.set(alias, target);
    return target;
  }

  #remember(node: Node & { anchor?: string }): void {
    if (node.anchor !== undefined && !this.#seen.has(node)) {
      this.#seen.add(node);
      this.#anchors.set(node.anchor, node);
    }
  }
  #within<T>(node: Node, body: () => T): T {
    this.#open.add(node);
    try {
      return body();
    } finally {
      this.#open.delete(node);
    }
  }

  #report(code: string, message: string, path: Path, offset: number): void {
    this.#findings.push({ severity: 'error', code, path, message, offset });
  }
}

const isMergeKey = (key: unknown): boolean => isScalar(key) && key.type === 'PLAIN' && key.value === '<<';
