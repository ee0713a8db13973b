/** What a line of the log is about: its level, and whose it is. Pure. */

export interface About {
  readonly level: number;
  readonly application: string | undefined;
  readonly deployment: string | undefined;
  /** The name of the file that it belongs into. */
  readonly file: string;
}

/** Ids of replicas begin with the application and the deployment; `deployment` in a line of the daemon is `application/Deployment`. */
export const aboutOf = (line: string): About => {
  const { level, replica, deployment, application } = JSON.parse(line) as Readonly<Record<string, unknown>>;
  const [named, within, id] =
    [replica, deployment, application]
      .find((name) => typeof name === 'string')
      ?.toString()
      .split('/') ?? [];
  return {
    level: typeof level === 'number' ? level : 0,
    application: named,
    deployment: within,
    file: fileOf(named, within, id),
  };
};

/** Names have no dots, so no two things have one file. */
export const fileOf = (application?: string, deployment?: string, id?: string): string => {
  if (application === undefined) return 'daemon';
  if (deployment === undefined) return `application.${application}`;
  return id === undefined ? `deployment.${application}.${deployment}` : `replica.${application}.${deployment}.${id}`;
};
