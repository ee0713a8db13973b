/** The example in `configs/speech`: recordings of two speakers over the wire, in every form in which they may come and go. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import { Tensor } from 'serve-daemon';
import t, { type Test } from 'tap';
import { Decoder } from '../../configs/speech/decoder.ts';
import { type DaemonRig, startDaemon, until } from '../support/daemon-rig.ts';
import {
  atRate,
  chunkOf,
  fileOf,
  joined,
  pcmOf,
  RATE,
  type Recording,
  SAID,
  silence,
  soundOf,
  wavOf,
  wordErrors,
} from '../support/speech.ts';
import { SocketClient } from '../support/websocket-client.ts';

t.setTimeout(540_000);

// Where it has not been done: 21 MB come from npm.
execFileSync(process.execPath, ['configs/speech/get-model.mjs'], {
  env: { ...process.env, NODE_OPTIONS: '' },
  stdio: ['ignore', 'ignore', 'inherit'],
});

const FOLDER = resolve('configs/speech');
const configFor = (server: string): string =>
  readFileSync('configs/speech/config.yaml', 'utf8')
    .replace('port: 8000', `port: 0, server: ${server}`)
    .replace('8265', '0')
    .replaceAll(/(?<=[ :])\.\/(?=transcriber|decoder|model)/g, `${FOLDER}/`)
    .replace('../../models', resolve('models'));

const NAMES = Object.keys(SAID) as Recording[];

const send = (daemon: DaemonRig, wav: Uint8Array, accept = 'text/plain', signal?: AbortSignal): ReturnType<DaemonRig['ask']> =>
  daemon.ask('/speech', { method: 'POST', headers: { accept }, body: wav, ...(signal && { signal }) });

/** An upload whose end the test decides, and what comes back meanwhile. */
class Upload {
  text = '';
  status = 0;
  readonly ended: Promise<void>;
  readonly #outgoing: ReturnType<typeof request>;

  constructor(daemon: DaemonRig, accept: string, id: string) {
    this.#outgoing = request(`${daemon.url}/speech`, { method: 'POST', headers: { accept, 'x-request-id': id } });
    this.ended = new Promise((resolve, reject) => {
      this.#outgoing.on('error', reject);
      this.#outgoing.on('response', (incoming) => {
        this.status = incoming.statusCode ?? 0;
        incoming.setEncoding('utf8').on('data', (chunk: string) => {
          this.text += chunk;
        });
        incoming.on('end', resolve);
        incoming.on('error', reject);
      });
    });
    this.ended.catch(() => {});
  }

  write(bytes: Uint8Array): void {
    this.#outgoing.write(bytes);
  }

  end(): Promise<void> {
    this.#outgoing.end();
    return this.ended;
  }

  leave(): void {
    this.#outgoing.destroy();
  }

  has(text: string): Promise<true> {
    return until(
      `the answer has ${text}`,
      () => this.text.includes(text),
      120_000,
      () => this.text,
    );
  }
}

/** It is this recording, whatever else is tried with it: at most one word in five is wrong. How good it is, a test of its own says. */
const isUnderstood = (t: Test, name: Recording, heard: string, how: string): void => {
  const { errors, words } = wordErrors(SAID[name], heard);
  t.ok(errors <= Math.ceil(words / 5), `${how}: ${errors} of ${words} words wrong in: ${heard.trim()}`);
};

for (const server of ['uws', 'node'] as const) {
  t.test(`${server}: the example`, async (t) => {
    await using daemon = await startDaemon(configFor(server));
    await daemon.running(60_000);

    await t.test('at most one word in twenty is wrong', async (t) => {
      const [errors, words] = [[] as number[], [] as number[]];
      for (const name of NAMES) {
        const answer = await send(daemon, fileOf(name));
        t.equal(answer.status, 200);
        t.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
        const score = wordErrors(SAID[name], answer.text);
        t.comment(`${name}: ${score.errors} of ${score.words} words wrong: ${answer.text.trim()}`);
        errors.push(score.errors);
        words.push(score.words);
      }
      const [wrong, all] = [errors, words].map((each) => each.reduce((sum, count) => sum + count, 0)) as [number, number];
      t.ok(wrong <= all / 20, `${wrong} of ${all} words wrong`);
    });

    await t.test('text of what was said comes before the rest is said', async (t) => {
      const upload = new Upload(daemon, 'text/event-stream', 'stays');
      // A head that says no length, as of a program that writes into a pipe.
      upload.write(wavOf(joined([silence(0.5), soundOf('austen-0930'), silence(2)]), { size: 0 }));
      await upload.has('event: segment');
      t.equal(upload.status, 200);
      const first = [...upload.text.matchAll(/event: (\w+)/g)].map(([, name]) => name);
      t.equal(first.at(-1), 'segment');
      t.ok(first.length > 5 && first.slice(0, -1).every((name) => name === 'word'), 'a word each, and then all of them');
      const before = upload.text.length;
      upload.write(pcmOf(joined([soundOf('austen-0880'), silence(2)]), 's16'));
      await upload.end();
      const events = upload.text.split('\n\n').map((event) => event.split('\ndata: '));
      const segments = events.flatMap(([name, data]) => (name === 'event: segment' ? [JSON.parse(data ?? '')] : [])) as {
        text: string;
        start: number;
        end: number;
      }[];
      t.equal(segments.length, 2);
      t.equal(
        events.flatMap(([name, data]) => (name === 'event: word' ? [JSON.parse(data ?? '').word] : [])).join(' '),
        segments.map(({ text }) => text).join(' '),
      );
      isUnderstood(t, 'austen-0930', segments[0]?.text ?? '', 'the first');
      isUnderstood(t, 'austen-0880', segments[1]?.text ?? '', 'the second');
      t.ok(upload.text.length > before && upload.text.endsWith('event: done\ndata: {}\n\n'));
      const [one, other] = segments.map(({ start, end }) => [start, end]) as [[number, number], [number, number]];
      t.ok(one[0] < 1 && one[0] < one[1] && one[1] <= other[0] && other[0] > 5 && other[1] < 9, `in seconds: ${one}, ${other}`);
    });

    await t.test('a client that leaves ends the work', async (t) => {
      const upload = new Upload(daemon, 'text/event-stream', 'left');
      upload.write(wavOf(joined([soundOf('jfk'), silence(2), soundOf('jfk'), silence(2)]), { size: 0 }));
      await upload.has('event: word');
      upload.leave();
      t.equal((await daemon.access('left'))['status'], 499);
      await daemon.when('nothing is worked on', ({ applications }) =>
        Object.values(applications['speech']?.deployments ?? {}).every(({ ongoing }) => ongoing === 0),
      );
      isUnderstood(t, 'austen-0930', (await send(daemon, fileOf('austen-0930'))).text, 'the next client');
    });

    await t.test('what is said while it is recorded', async (t) => {
      const client = await SocketClient.open(`${daemon.url}/speech?rate=24000&encoding=f32&channels=2`);
      const sound = pcmOf(atRate(soundOf('austen-0870'), 24_000), 'f32', 2);
      const half = Math.round(sound.length / 2) + 3;
      for (let at = 0; at < half; at += 100_001) client.ws.send(sound.subarray(at, Math.min(half, at + 100_001)));
      const partial = JSON.parse(String(await client.next())) as { type: string; text: string };
      t.equal(partial.type, 'partial');
      t.match(partial.text.toLowerCase(), /^and/, 'from its beginning on');
      for (let at = half; at < sound.length; at += 100_001) client.ws.send(sound.subarray(at, at + 100_001));
      client.ws.send('end');
      t.equal(await client.closed, 1000);
      const final = JSON.parse(String(client.received.at(-1))) as { type: string; text: string; start: number; end: number };
      t.equal(final.type, 'final');
      isUnderstood(t, 'austen-0870', final.text, 'all of it');
      t.ok(final.text.length > partial.text.length && final.start < 1 && final.end > 6);
    });

    await t.test('what is no sound is refused', async (t) => {
      const answer = await send(daemon, Buffer.from('ID3 and so on'));
      t.equal(answer.status, 400);
      t.equal(answer.text, 'expected a WAV file, got bytes that begin with 49443320');
      t.match(await send(daemon, Buffer.alloc(0)), { status: 400, text: 'expected a WAV file, got an empty body' });
      t.match(await daemon.ask('/speech', { method: 'POST' }), { status: 400, text: 'expected a WAV file, got an empty body' });
      t.equal((await daemon.ask('/speech')).status, 405);
      const refused = await SocketClient.refused(`${daemon.url}/speech?rate=1`);
      t.equal(refused.status, 400);
      t.equal(refused.text, 'expected a rate from 8000 to 192000 Hz, got 1');
      const client = await SocketClient.open(`${daemon.url}/speech`);
      client.ws.send('stop');
      t.equal(await client.closed, 1003);
      t.match(client.closeReason, /expected sound/);
    });

    // What follows is the same whichever driver brings it.
    if (server === 'node') return;

    await t.test('recordings of any form', async (t) => {
      const forms = [
        { rate: 8000, width: 's16', channels: 1 },
        { rate: 44_100, width: 's24', channels: 2 },
        { rate: 48_000, width: 'f32', channels: 1 },
      ] as const;
      for (const form of forms) {
        const wav = wavOf(atRate(soundOf('austen-0920'), form.rate), {
          ...form,
          chunks: [chunkOf('LIST', Buffer.from('other'))],
        });
        isUnderstood(t, 'austen-0920', (await send(daemon, wav)).text, JSON.stringify(form));
      }
    });

    await t.test('silence, noise and a tone are no text', async (t) => {
      let seed = 7;
      const noise = Float32Array.from({ length: 3 * RATE }, () => {
        seed = (seed * 48_271) % 2_147_483_647;
        return 0.1 * (seed / 2_147_483_647 - 0.5);
      });
      const tone = Float32Array.from({ length: 3 * RATE }, (_, at) => 0.2 * Math.sin((2 * Math.PI * 440 * at) / RATE));
      for (const sound of [silence(3), noise, tone, silence(0)]) {
        const answer = await send(daemon, wavOf(sound));
        t.equal(answer.status, 200);
        t.equal(answer.text, '');
      }
      t.same(JSON.parse((await send(daemon, wavOf(silence(1)), 'application/json')).text), { text: '', segments: [] });
    });

    await t.test('several at once, one of them long, each gets its own', async (t) => {
      const long = wavOf(joined(NAMES.flatMap((name) => [soundOf(name), silence(1.5)])));
      const [all, ...each] = await Promise.all([
        send(daemon, long, 'application/json'),
        ...NAMES.map((name) => send(daemon, fileOf(name))),
      ]);
      for (const [index, name] of NAMES.entries()) isUnderstood(t, name, each[index]?.text ?? '', 'beside others');
      const { text, segments } = JSON.parse(all?.text ?? '') as { text: string; segments: { start: number; end: number }[] };
      const { errors, words } = wordErrors(Object.values(SAID).join(' '), text);
      t.ok(errors <= words / 10, `${errors} of ${words} words wrong in: ${text}`);
      t.ok(segments.length >= NAMES.length, `${segments.length} segments`);
      t.ok(
        segments.every(({ start, end }, index) => start < end && end <= (segments[index + 1]?.start ?? 60)),
        'one after the other',
      );
    });
  });
}

t.test('the decoder stops within a token when its caller leaves', async (t) => {
  const decoder = new Decoder({ model: 'configs/speech/model/decoder_model_merged.onnx' });
  t.teardown(() => decoder.close());
  const states = new Tensor(
    'float32',
    [1, 4, 288],
    new Float32Array(4 * 288).map((_, at) => Math.sin(at)),
  );
  const said = async (maxTokens: number, leaveAfter: number): Promise<{ words: string[]; looks: number }> => {
    let looks = 0;
    const signal = {
      get aborted() {
        return ++looks > leaveAfter;
      },
    } as AbortSignal;
    const words: string[] = [];
    for await (const word of decoder.words({ states, maxTokens }, { signal } as never)) words.push(word);
    return { words, looks };
  };
  const all = await said(40, 1000);
  t.ok(all.looks > 10, `it looks before each token: ${all.looks} times`);
  const few = await said(40, 5);
  t.equal(few.looks, 6, 'and works on none behind that');
  t.ok(all.words.join(' ').startsWith(few.words.join(' ')));
});
