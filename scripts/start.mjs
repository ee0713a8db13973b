/** `npm start`: installs and builds what is missing, serves the quickstart, and says what to try. */
import { join } from 'node:path';
import { ensureBuilt, ROOT } from './prepare.mjs';

ensureBuilt();
const { serve } = await import('../dist/cli/run.js');
process.exitCode = await serve({
  config: join(ROOT, 'configs', 'quickstart', 'config.yaml'),
  onReady: (url, say) => {
    const text =
      'Serving models is harder than training them. A server must batch requests, bound its queues and survive crashes. Most teams write this again and again. One file should be enough to say what is served. Editing that file should be enough to change it.';
    say(`
Ready. In another terminal:

  curl -s ${url}/ -H 'content-type: application/json' -d '${JSON.stringify(text)}'

  curl -s ${url}/ocr --data-binary @${join(ROOT, 'configs', 'ocr', 'samples', 'page.jpg')}

Then edit ${join(ROOT, 'configs', 'quickstart', 'config.yaml')} and save: that is the deploy step. Ctrl-C stops.

`);
  },
});
process.exit();
