import sharp from 'sharp';
import t from 'tap';
import { createDirectOcr } from '../../configs/ocr/direct.ts';
import { openPackage, type Score, scoreOf, TEST_PAGES, total } from '../../scripts/ocr-quality.ts';
import { drawPage, type PageSpec } from '../support/page-images.ts';

const ocr = await createDirectOcr();
t.teardown(() => ocr.close());

const line: PageSpec = { name: 'line', seed: 7, font: 'sans', size: 28, width: 600, height: 110, lines: 1 };
const text = (answer: { lines: readonly { text: string }[] }): string[] => answer.lines.map((each) => each.text);

t.test('reads 98 % of the characters of drawn pages, and more words than the npm package with the same models', async (t) => {
  const peer = await openPackage();
  t.teardown(() => peer.close());
  const [ours, theirs]: [Score[], Score[]] = [[], []];
  for (const spec of TEST_PAGES) {
    const page = await drawPage(spec);
    const score = scoreOf(page.lines, text(await ocr.recognize(page.bytes)));
    ours.push(score);
    theirs.push(scoreOf(page.lines, await peer.read(page)));
    t.ok(score.errors <= 0.03 * score.characters, `${spec.name}: ${score.errors} of ${score.characters} characters wrong`);
  }
  const [we, they] = [total(ours), total(theirs)];
  t.ok(we.errors <= 0.02 * we.characters, `${we.errors} of ${we.characters} characters wrong`);
  t.ok(we.wordsRight > they.wordsRight, `${we.wordsRight} of ${we.words} words right, the package ${they.wordsRight}`);
  t.ok(we.wordsRight >= 0.97 * we.words, 'words are kept apart');
});

t.test('a page upside down is read from its own top, and its boxes begin where its lines do', async (t) => {
  const page = await drawPage({ ...line, height: 300, lines: 4, tilt: 180 });
  const answer = await ocr.recognize(page.bytes);
  t.same(text(answer), page.lines);
  t.ok(Math.abs(answer.angle - 180) < 1, `${answer.angle} is 180`);
  const [first, last] = [answer.lines[0]?.box[0] ?? [0, 0], answer.lines.at(-1)?.box[0] ?? [0, 0]];
  t.ok(first[0] > 500 && first[1] > 200, `begins at the right of the lowest line: ${first}`);
  t.ok(last[1] < first[1], 'and goes up');
});

t.test('a page on its side is read', async (t) => {
  const page = await drawPage({ ...line, height: 300, lines: 4 });
  for (const angle of [90, 270]) {
    const answer = await ocr.recognize(await sharp(page.bytes).rotate(angle).png().toBuffer());
    t.same(text(answer), page.lines);
    t.ok(Math.abs(answer.angle - angle) < 1, `${answer.angle} is ${angle}`);
  }
});

t.test('boxes are in pixels of the image as it is shown, after its EXIF orientation', async (t) => {
  const page = await drawPage(line);
  const [plain, rotated] = await Promise.all([
    ocr.recognize(page.bytes),
    // Stored on its side, with the mark that says to turn it back.
    ocr.recognize(await sharp(page.bytes).rotate(270).withMetadata({ orientation: 6 }).jpeg({ quality: 95 }).toBuffer()),
  ]);
  t.same(text(rotated), text(plain));
  const off = (rotated.lines[0]?.box ?? []).flatMap((corner, i) =>
    corner.map((value, axis) => Math.abs(value - (plain.lines[0]?.box[i]?.[axis] ?? 0))),
  );
  t.ok(off.length === 8 && Math.max(...off) <= 4, `corners within 4 pixels: ${off}`);
});

t.test('a blank image has no lines', async (t) => {
  const blank = await sharp({ create: { width: 300, height: 200, channels: 3, background: '#fff' } })
    .png()
    .toBuffer();
  t.same((await ocr.recognize(blank)).lines, []);
  const dot = await sharp({ create: { width: 1, height: 1, channels: 3, background: '#fff' } })
    .png()
    .toBuffer();
  t.same((await ocr.recognize(dot)).lines, []);
});

t.test('what is no image is refused, with what it is', async (t) => {
  const refused = (message: string | RegExp) => ({ name: 'HttpError', code: 'HTTP_ERROR', message, details: { status: 400 } });
  await t.rejects(
    ocr.recognize(Buffer.from('Dear Sir,\nplease read this.')),
    refused('expected a PNG or JPEG image, got text (27 bytes)'),
  );
  await t.rejects(
    ocr.recognize(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')),
    refused('expected a PNG or JPEG image, got svg'),
  );
  await t.rejects(ocr.recognize(new Uint8Array()), refused('expected a PNG or JPEG image, got an empty body'));
  await t.rejects(
    ocr.recognize(Buffer.from('00ff00ff', 'hex')),
    refused('expected a PNG or JPEG image, got 4 bytes that begin with 00ff00ff'),
  );
  const page = await drawPage({ ...line, jpeg: 80 });
  await t.rejects(ocr.recognize(page.bytes.subarray(0, page.bytes.length / 2)), refused(/^expected a whole PNG or JPEG image/));
});

t.test('an image of 30 megapixels is read, one beyond the limit refused', async (t) => {
  const page = await drawPage(line);
  const large = await sharp({ create: { width: 6000, height: 5000, channels: 3, background: '#fff' } })
    .composite([{ input: await sharp(page.bytes).resize(2400).png().toBuffer(), left: 1000, top: 2000 }])
    .jpeg()
    .toBuffer();
  const { lines } = await ocr.recognize(large);
  t.same(
    lines.map((each) => each.text),
    page.lines,
  );
  const [x = 0, y = 0] = lines[0]?.box[0] ?? [];
  t.ok(x > 1000 && x < 1300 && y > 2000 && y < 2400, `in pixels of the image as sent: ${x}, ${y}`);
  const huge = await sharp({ create: { width: 9000, height: 8000, channels: 3, background: '#fff' } })
    .png({ compressionLevel: 1 })
    .toBuffer();
  await t.rejects(ocr.recognize(huge), {
    message: 'expected an image of at most 64 megapixels, got 9000 × 8000',
    details: { status: 413 },
  });
});

t.test('grey, transparent and 16-bit images are read, too', async (t) => {
  const page = await drawPage(line);
  const grey = await sharp(page.bytes).greyscale().png().toBuffer();
  const transparent = await sharp(page.bytes).ensureAlpha().png().toBuffer();
  const deep = await sharp(page.bytes).toColourspace('rgb16').png().toBuffer();
  const webp = await sharp(page.bytes).webp().toBuffer();
  for (const bytes of [grey, transparent, deep, webp]) t.same(text(await ocr.recognize(bytes)), page.lines);
});
