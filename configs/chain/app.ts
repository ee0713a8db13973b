/** The application in code: `serve-daemon run configs/chain/app.ts:app`. The handle is typed by the class that is bound to it. */
import { deployment } from 'serve-daemon';
import { Pronouncer } from './pronouncer.ts';
import { Summarizer } from './summarizer.ts';

export const app = deployment(Summarizer, { maxOngoingRequests: 16 }).bind({
  pronouncer: deployment(Pronouncer, { maxOngoingRequests: 16 }).bind(),
  maxLength: 30,
});
