/** Hundreds of graphs with one thing wrong in each: what is wrong is said by its code, on its line, and nothing is made up beside it. */
import t from 'tap';
import { compile } from '../../src/config/compile.ts';
import { brokenGraphs, GOOD_GRAPHS } from '../support/broken-graphs.ts';

const diagnosed = (text: string) => compile(text, { file: '/srv/config.yaml', env: {}, exists: () => true });

t.test('the graphs that they were made of are good', async (t) => {
  for (const text of GOOD_GRAPHS) t.same(diagnosed(text).diagnostics, []);
});

t.test('each broken graph is told where it is broken', async (t) => {
  const graphs = brokenGraphs();
  t.ok(graphs.length >= 200, `${graphs.length} graphs`);
  for (const { title, text, code, severity, line, also } of graphs) {
    const { diagnostics, desired } = diagnosed(text);
    const said = diagnostics.map((each) => `${each.severity} ${each.code} ${each.line}`);
    const wanted = `${severity} ${code} ${line}`;
    const others = diagnostics.filter((each) => each.severity === 'error' && each.code !== code && !also.includes(each.code));
    if (!said.includes(wanted) || others.length > 0 || (desired === undefined) !== (severity === 'error'))
      t.fail(`${title}: expected ${wanted}, got ${said.join(', ') || 'nothing'}\n${text}`);
  }
  t.comment(`${graphs.length} graphs`);
});
