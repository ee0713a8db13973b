import t from 'tap';
import { makeToken, readToken } from '../../src/protocol/token.ts';

const identity = { replica: 'app/A/1', deployment: 'app/A', version: 'v1' };
const token = makeToken('key', identity);
const [payload = '', signature = ''] = token.split('.');

t.test('a token says who it was made for', async (t) => {
  t.same(readToken('key', token), identity);
});

const other = Buffer.from(JSON.stringify(['app/B/1', 'app/B', 'v1'])).toString('base64url');
const forged: Readonly<Record<string, unknown>> = {
  'of another key': makeToken('other', identity),
  'for somebody else': `${other}.${signature}`,
  'without a signature': payload,
  'with an empty signature': `${payload}.`,
  'with half a signature': `${payload}.${signature.slice(0, 20)}`,
  'with a longer signature': `${payload}.${signature}AAAA`,
  'that is empty': '',
  'that is no text': { length: 5 },
  'that is missing': undefined,
};
for (const [what, given] of Object.entries(forged)) {
  t.test(`a token ${what} is refused`, async (t) => {
    t.equal(readToken('key', given), undefined);
  });
}
