/** The same pipeline in one process, with no daemon: for tests of quality and as the measure for the daemon's speed. */
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { Tensor } from 'serve-daemon';
import { Cropper } from './cropper.ts';
import type { Steps } from './ctc.ts';
import { Page } from './page.ts';
import { type Answer, Reader } from './reader.ts';

const models = fileURLToPath(new URL('../../models/ocr/', import.meta.url));

/** One thread per run, as a replica of one CPU has; runs that overlap use more. */
const SESSION: ort.InferenceSession.SessionOptions = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
};

export interface DirectOcr {
  recognize(body: Uint8Array): Promise<Answer>;
  close(): Promise<void>;
}

export const createDirectOcr = async (options: ort.InferenceSession.SessionOptions = SESSION): Promise<DirectOcr> => {
  const open = (file: string): Promise<ort.InferenceSession> => ort.InferenceSession.create(models + file, options);
  const [detector, classifier, recognizer] = await Promise.all([open('det.onnx'), open('cls.onnx'), open('rec.onnx')]);
  const [page, cropper, reader] = [new Page(), new Cropper(), new Reader({ characters: '../../models/ocr/characters.txt' })];
  return {
    recognize: async (body) => {
      const { pixels, detect, view, sent } = await page.decode(body);
      const { text } = (await infer(detector, detect)) as { text: Tensor };
      const cut = cropper.cut({ pixels, view, text });
      const votes = await inTurn(cut.samples, (sample) => infer(classifier, sample));
      const voted = { ...cut, votes: votes as { turned: Tensor }[] };
      const read = async (tensors: readonly Tensor[]): Promise<Steps[]> =>
        (await inTurn(tensors, (strip) => infer(recognizer, strip))) as unknown as Steps[];
      const trials = await read(cropper.doubt(voted).trials);
      const { lines, strips } = cropper.turn({ ...voted, trials });
      const first = await read(strips);
      const again = cropper.widen({ lines, strips, read: first });
      return reader.assemble({ sent, lines, read: first, widened: again.lines, again: await read(again.strips) });
    },
    close: async () => {
      await Promise.all([detector, classifier, recognizer].map((session) => session.release()));
    },
  };
};

/** Runs a model with one input. */
const infer = async (session: ort.InferenceSession, { dtype, data, shape }: Tensor): Promise<Record<string, Tensor>> => {
  const input = new ort.Tensor(dtype as 'uint8', data as Uint8Array, shape);
  const outputs = await session.run({ pixels: input });
  return Object.fromEntries(
    Object.entries(outputs).map(([name, output]) => [
      name,
      new Tensor(output.type as 'float32', output.dims, output.data as Float32Array),
    ]),
  );
};

const inTurn = async <T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> => {
  const results: R[] = [];
  for (const item of items) results.push(await run(item));
  return results;
};
