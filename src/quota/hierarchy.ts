/** Where the control groups of this process are: one folder for each v1 controller, and one in the v2 tree. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Place {
  /** The group of this process. */
  readonly folder: string;
  /** It and the groups above it, as far as they can be seen from here. */
  readonly upwards: readonly string[];
}

export interface Hierarchies {
  /** By controller: `cpu`, `memory`, `pids`, `freezer`. */
  readonly v1: ReadonlyMap<string, Place>;
  readonly v2: Place | undefined;
}

interface Mount {
  readonly point: string;
  /** Which folder of the hierarchy is mounted there. */
  readonly root: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** @param root of the file system, for tests */
export const hierarchiesOf = (root = '/'): Hierarchies => {
  const mounts = mountsOf(textOf(join(root, 'proc/self/mountinfo')));
  const v1 = new Map<string, Place>();
  let v2: Place | undefined;
  for (const line of textOf(join(root, 'proc/self/cgroup')).split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    if (controllers === '') {
      v2 = placeOf(
        mounts.find(({ type }) => type === 'cgroup2'),
        path,
        root,
      );
      continue;
    }
    for (const controller of controllers.split(',')) {
      const mount = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(controller));
      const place = placeOf(mount, path, root);
      if (place !== undefined) v1.set(controller, place);
    }
  }
  return { v1, v2 };
};

const mountsOf = (text: string): readonly Mount[] =>
  text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, point] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    if (root === undefined || point === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
    return [{ root, point: unescaped(point), type, options: options.split(',') }];
  });

/** The kernel writes blanks in octal. */
const unescaped = (path: string): string =>
  path.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));

const placeOf = (mount: Mount | undefined, path: string, root: string): Place | undefined => {
  if (mount === undefined) return undefined;
  const below = mount.root === '/' ? path : path.startsWith(mount.root) ? path.slice(mount.root.length) : path;
  const parts = below.split('/').filter((part) => part !== '' && part !== '..');
  const folders = [...parts.keys(), parts.length].map((length) => join(root, mount.point, ...parts.slice(0, length)));
  const folder = folders.at(-1) as string;
  // In a container the path may be that of the host, and the mount begins with our own group.
  return existsSync(folder)
    ? { folder, upwards: folders.reverse() }
    : { folder: join(root, mount.point), upwards: [join(root, mount.point)] };
};

const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};
