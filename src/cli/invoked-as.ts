/** How the user of this process calls the program, for messages that say what to type next. */

/** A package that is installed in a folder has its program on the path of `npx` only. */
export const invokedAs = (env: Readonly<Record<string, string | undefined>>): string =>
  env['npm_command'] === 'exec' ? 'npx serve-daemon' : 'serve-daemon';
