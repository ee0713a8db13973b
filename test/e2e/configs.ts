/** Config files and code that the tests serve. */

export const HEAD = `http_options: {host: 127.0.0.1, port: 0}
admin_options: {port: 0}
`;

/** `applications` as JSON, which is YAML. */
export const configOf = (applications: readonly object[], head: string = HEAD): string =>
  `${head}applications:\n${applications.map((each) => `- ${JSON.stringify(each)}\n`).join('')}`;

/** An application of one deployment. */
export const single = (name: string, route: string, deployment: object): object => ({
  name,
  route_prefix: route,
  deployments: [{ name: 'Only', ...deployment }],
});

/** Answers what it is sent. Asked after each harm that is done to another application. */
export const NEIGHBOUR = single('neighbour', '/neighbour', { import_path: './echo.ts:echo' });

export const ECHO = `export async function echo(input: unknown) { return input; }\n`;
