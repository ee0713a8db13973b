/** The example of a model for each tenant: right about tickets that it has not seen, and safe with ids that clients make up. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { TicketModel } from '../../configs/multiplex/classifier.ts';
import { compile } from '../../src/config/compile.ts';
import { startDaemon } from '../support/daemon-rig.ts';

t.setTimeout(120_000);

const folder = resolve('configs/multiplex');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');

t.test('the config has no mistakes', async (t) => {
  const file = join(folder, 'config.yaml');
  const { desired, diagnostics } = compile(readFileSync(file), { file, env: {}, exists: existsSync });
  t.same(diagnostics, []);
  t.same(desired?.applications[0]?.deployments[0]?.multiplexing, { maxNumModelsPerReplica: 2, targetReplicasPerModel: 1 });
});

const TICKETS: readonly (readonly [tenant: string, ticket: string, desk: string])[] = [
  ['shop', 'the parcel has still not arrived', 'delivery'],
  ['shop', 'these trousers do not fit, can I send them back?', 'returns'],
  ['shop', 'checkout does not take my card', 'payment'],
  ['bank', 'a wrong code and now the card is blocked', 'cards'],
  ['bank', 'can I get a mortgage for a house', 'loans'],
  ['bank', 'somebody sent me a strange message', 'fraud'],
  ['hotel', 'please cancel the reservation', 'booking'],
  ['hotel', 'no hot water in the shower', 'room'],
  ['hotel', 'why was I charged for the minibar?', 'invoice'],
];

t.test('each model sorts tickets that it has not seen', async (t) => {
  for (const [tenant, ticket, desk] of TICKETS) {
    const answer = new TicketModel(tenant, read(`tenants/${tenant}.tsv`)).classify(ticket);
    t.equal(answer.desk, desk, `${tenant}: ${ticket}`);
    t.ok(answer.probability > 1 / 3 && answer.probability <= 1);
  }
  t.throws(() => new TicketModel('empty', '# nothing\n'), /at least two desks in the model empty, got 0/);
});

t.test('served: each tenant gets its own model, loaded once', async (t) => {
  const names = ['classifier.ts', ...readdirSync(join(folder, 'tenants')).map((name) => `tenants/${name}`)];
  const config = read('config.yaml').replace('port: 8000', 'port: 0').replace('port: 8265', 'port: 0');
  const files = { ...Object.fromEntries(names.map((name) => [name, read(name)])), 'secret.tsv': read('tenants/shop.tsv') };
  await using daemon = await startDaemon(config, { files });
  await daemon.running();
  const ask = (tenant: string, ticket: unknown = 'where is it?') =>
    daemon.post('/', ticket, { 'serve-multiplexed-model-id': tenant });

  for (let round = 0; round < 10; round++) {
    await Promise.all(
      TICKETS.map(async ([tenant, ticket, desk]) => {
        const { text } = await ask(tenant, ticket);
        t.match(JSON.parse(text), { tenant, desk }, `${tenant}: ${ticket}`);
      }),
    );
  }
  const held = (await daemon.replicas('tickets', 'Classifier')).flatMap(({ models }) => models ?? []);
  t.same(held.sort(), ['bank', 'hotel', 'shop']);

  for (const id of ['../secret', '..%2fsecret', '/etc/passwd', 'shop.tsv', 'shop/../shop', '.', 'SHOP', 'a\tb', 'x'.repeat(64)])
    t.match(await ask(id), { status: 400, text: /expected the id of a tenant/ }, id);
  t.match(await ask('nobody'), { status: 404, text: 'there is no model of the tenant nobody' });
  t.match(await daemon.post('/', 'x'), { status: 400, text: /expected the id of a model, got none/ });
  t.match(await ask('shop', 5), { status: 422 });

  await daemon.write('tenants/new.tsv', read('tenants/hotel.tsv'));
  t.match(JSON.parse((await ask('new', 'the shower is cold')).text), { tenant: 'new', desk: 'room' });
});
