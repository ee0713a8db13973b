/** What `init` writes: the config has no mistakes, and its code is right about texts that it was not written for. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { Redactor } from '../../configs/first/redact.ts';
import { compile } from '../../src/config/compile.ts';

const redactor = new Redactor();
const redact = async (text: unknown) => (await redactor.call(text)).text;

t.test('the config has no mistakes', async (t) => {
  const file = resolve('configs/first/config.yaml');
  const { desired, diagnostics } = compile(readFileSync(file), { file, env: {}, exists: existsSync });
  t.same(diagnostics, []);
  t.same(desired?.applications[0]?.deployments[0]?.userConfig, {
    kinds: ['email', 'iban', 'card', 'phone', 'ip'],
    mask: '[{kind}]',
  });
});

t.test('what identifies somebody is taken out', async (t) => {
  for (const [text, expected] of [
    ['Mail ann.b+c@ex-ample.co.uk, or bob@münchen.de.', 'Mail [email], or [email].'],
    ['Call +44 20 7946 0958 or +1 (415) 555-2671!', 'Call [phone] or [phone]!'],
    ['Cards 4111 1111 1111 1111 and 378282246310005', 'Cards [card] and [card]'],
    ['DE89 3704 0044 0532 0130 00 THANKS, GB82WEST12345698765432', '[iban] THANKS, [iban]'],
    ['FR14 2004 1010 0505 0001 3M02 606', '[iban]'],
    ['from 192.0.2.7 and 10.0.0.1.', 'from [ip] and [ip].'],
    ['', ''],
  ] as const)
    t.equal(await redact(text), expected);
  t.same(await redactor.call(new TextEncoder().encode('é a@b.cd')), {
    text: 'é [email]',
    found: [{ kind: 'email', start: 2, end: 8 }],
  });
});

t.test('what only looks like it stays', async (t) => {
  for (const text of [
    '4111 1111 1111 1112',
    'DE89 3704 0044 0532 0130 01',
    '300.1.1.1',
    'version 1.2.3.4.5',
    'a@b',
    '+1 23',
    'at 10:30, 12.5 %',
  ])
    t.equal(await redact(text), text);
});

t.test('no text takes long', async (t) => {
  const since = performance.now();
  for (const part of ['a', '1 ', '@', 'A1B2 ', '+1', 'a@b.', 'a@b.cd ', '9']) await redact(part.repeat(200_000 / part.length));
  t.ok(performance.now() - since < 10_000, `${Math.round(performance.now() - since)} ms`);
});

t.test('reconfigure takes other kinds and another mask, and refuses what it does not know', async (t) => {
  const mine = new Redactor();
  mine.reconfigure({ kinds: ['ip'], mask: '<$&{kind}>' });
  t.equal((await mine.call('a@b.cd 10.0.0.1')).text, 'a@b.cd <$&ip>');
  t.throws(() => mine.reconfigure({ kinds: ['ssn' as 'ip'] }), { message: /expected kinds out of email, .*, got ssn/ });
  t.equal((await mine.call('10.0.0.1')).text, '<$&ip>');
  mine.reconfigure(null);
  t.equal((await mine.call('10.0.0.1')).text, '[ip]');
  await t.rejects(mine.call({ text: 5 }), { message: /expected a text/ });
});
