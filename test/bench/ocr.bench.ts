/**
 * (b) OCR pages a second: through the daemon with 8 clients, against the same pipeline called directly in one process, and against the npm
 * package that runs the same models.
 */
import { request } from 'node:http';
import { join } from 'node:path';
import { createDirectOcr } from '../../configs/ocr/direct.ts';
import { openPackage, TEST_PAGES } from '../../scripts/ocr-quality.ts';
import { drawPage, type PageImage } from '../support/page-images.ts';
import { median, ROOT, startDaemon, versionsText } from './support.ts';

const ROUNDS = 3;
const CLIENTS = 8;
const PAGES = 16;

const post = (port: number, page: Uint8Array): Promise<{ lines: unknown[] }> =>
  new Promise((resolve, reject) => {
    const sent = request({ port, path: '/ocr', method: 'POST', headers: { 'content-length': page.byteLength } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        if (response.statusCode !== 200) reject(new Error(`${response.statusCode}: ${Buffer.concat(chunks)}`));
        else resolve(JSON.parse(Buffer.concat(chunks).toString()) as { lines: unknown[] });
      });
    });
    sent.on('error', reject);
    sent.end(page);
  });

/** Pages a second with so many workers, each taking the next page when it is done with one. */
const pagesPerS = async (
  pages: readonly PageImage[],
  workers: number,
  work: (page: PageImage) => Promise<unknown>,
): Promise<number> => {
  let next = 0;
  const began = performance.now();
  const worker = async () => {
    for (let page = pages[next++]; page !== undefined; page = pages[next++]) await work(page);
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return pages.length / ((performance.now() - began) / 1000);
};

export const run = async (): Promise<void> => {
  const pages: PageImage[] = [];
  for (const spec of TEST_PAGES.slice(0, PAGES)) pages.push(await drawPage(spec));
  const config = join(ROOT, 'configs', 'ocr', 'config.yaml');
  await using daemon = await startDaemon('', {}, config);
  await daemon.line('"route":"/ocr"');
  const direct = await createDirectOcr();
  const other = await openPackage();
  const warm = pages[0] as PageImage;
  await Promise.all([post(daemon.port, warm.bytes), post(daemon.port, warm.bytes)]);
  await direct.recognize(warm.bytes);
  await other.read(warm);
  const rows: { daemon: number; direct: number; other: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rows.push({
      daemon: await pagesPerS(pages, CLIENTS, (page) => post(daemon.port, page.bytes)),
      direct: await pagesPerS(pages, 1, (page) => direct.recognize(page.bytes)),
      other: await pagesPerS(pages, 1, (page) => other.read(page)),
    });
  }
  await direct.close();
  await other.close();
  const of = (key: keyof (typeof rows)[number]) => median(rows.map((row) => row[key]));
  const ratio = (key: 'direct' | 'other') => median(rows.map((row) => row.daemon / row[key]));
  console.log(
    `(b) OCR, ${pages.length} pages, ${CLIENTS} clients, ${versionsText(['onnxruntime-node', 'sharp', '@gutenye/ocr-node'])}`,
  );
  console.log(
    `    daemon ${of('daemon').toFixed(2)} pages/s, the pipeline in one process ${of('direct').toFixed(2)}/s (ratio ${ratio('direct').toFixed(2)}, wanted ≥ 0.95), @gutenye/ocr-node ${of('other').toFixed(2)}/s (ratio ${ratio('other').toFixed(2)}, wanted ≥ 1.2)`,
  );
};
