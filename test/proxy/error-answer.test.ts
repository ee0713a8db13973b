import t from 'tap';
import { ServeError } from '../../src/domain/errors.ts';
import { errorAnswer } from '../../src/proxy/error-answer.ts';
import { HttpError } from '../../src/sdk/http-error.ts';

t.test('what went wrong inside is nothing that clients learn of', async (t) => {
  for (const code of ['USER_ERROR', 'INTERNAL', 'CALL_REFUSED'] as const) {
    for (const accept of [undefined, 'application/json']) {
      const { status, body } = errorAnswer(new ServeError(code, 'the password is x'), accept);
      t.equal(status, 500);
      t.notMatch(body, /password/);
    }
  }
});

t.test('text, or a problem where the client asks for JSON', async (t) => {
  const error = new ServeError('INVALID_INPUT', 'expected a number');
  t.match(errorAnswer(error, undefined), { status: 400, body: 'expected a number' });
  const { headers, body } = errorAnswer(error, 'text/html, application/json');
  t.ok(headers.join().includes('application/problem+json'));
  t.match(JSON.parse(body), { status: 400, detail: 'expected a number', code: 'INVALID_INPUT', title: 'Invalid input' });
});

t.test('what may be tried again says when', async (t) => {
  const { status, headers } = errorAnswer(new ServeError('QUEUE_FULL', 'm', { retryAfterS: 0.2, status: 429 }), undefined);
  t.equal(status, 429);
  t.equal(headers[headers.indexOf('retry-after') + 1], '1');
});

t.test('user code chooses status and headers, and no header twice', async (t) => {
  const { status, headers, body } = errorAnswer(
    new HttpError(418, 'teapot', { 'X-Tea': 'yes', 'content-type': 'text/tea' }),
    undefined,
  );
  t.equal(status, 418);
  t.equal(body, 'teapot');
  t.equal(headers[headers.indexOf('x-tea') + 1], 'yes');
  t.equal(headers.filter((name, index) => index % 2 === 0 && name === 'content-type').length, 1);
});
