import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageCache, type PageFile } from './pages.ts';

const PAGE = 512;
const FRAMES = 16;

/** Page `n` is full of the byte `n`. */
function fileOf(pages: number, read: string[] = [], name = ''): PageFile {
  return {
    sizeBytes: pages * PAGE,
    read: (position, into, at, length) => {
      read.push(`${name}${position / PAGE + 1}`);
      into.fill(position / PAGE + 1, at, at + length);
      return length;
    },
  };
}

test('pages are read once while there is room, and are what they should be', () => {
  const read: string[] = [];
  const pages = new PageCache(FRAMES * PAGE).open(fileOf(10, read), PAGE);
  assert.equal(pages.pageCount, 10);
  for (const page of [1, 10, 5, 1, 10, 5]) assert.equal(pages.bytes[pages.locate(page) + PAGE - 1], page);
  assert.deepEqual(read, ['1', '10', '5']);
});

test('files share the room, and get the right pages whatever had to go', () => {
  const cache = new PageCache(FRAMES * PAGE);
  const files = [40, 100, 7].map((pages) => cache.open(fileOf(pages), PAGE));
  assert.ok(files.every(({ bytes }) => bytes.length === FRAMES * PAGE && bytes === files[0]!.bytes));
  for (let i = 0; i < 5000; i++) {
    const pages = files[i % 3]!;
    const page = 1 + ((i * 7919) % pages.pageCount);
    assert.equal(pages.bytes[pages.locate(page)], page);
  }
});

test('the page located last stays while another is read', () => {
  const pages = new PageCache(0).open(fileOf(250), PAGE);
  for (let page = 1; page < 250; page++) {
    const at = pages.locate(page);
    pages.locate(page + 1);
    assert.equal(pages.bytes[at], page);
  }
});

test('pages that are used again and again stay longer than those used once', () => {
  const read: string[] = [];
  const pages = new PageCache(FRAMES * PAGE).open(fileOf(100, read), PAGE);
  for (let page = 2; page <= 100; page++) {
    pages.locate(1);
    pages.locate(page);
  }
  assert.ok(read.filter((page) => page === '1').length < 10, 'the root was read again and again');
});

test('a page that cannot be read is asked for again, and spoils no other', () => {
  const failing = fileOf(3);
  let fails = true;
  const read: PageFile['read'] = (...args) => {
    if (fails) throw new Error('EIO');
    return failing.read(...args);
  };
  const pages = new PageCache(0).open({ sizeBytes: failing.sizeBytes, read }, PAGE);
  assert.throws(() => pages.locate(2), /EIO/);
  fails = false;
  assert.equal(pages.bytes[pages.locate(2)], 2);
});

test('a file that is shorter than it was is refused', () => {
  const short: PageFile = { sizeBytes: 2 * PAGE, read: () => 100 };
  assert.throws(() => new PageCache(0).open(short, PAGE).locate(2), {
    code: 'STORAGE',
    message: /ends before page 2/,
  });
});
