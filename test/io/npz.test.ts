import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';

import { decodeNpz, encodeNpy, readNpz } from '../../lib/io/index';
import { Tensor } from '../../lib/tensor';
import { applyEdits, archive, edits, expectSame, failure, fixture, fixturePath, temporaryFolder } from './support';

const folder = temporaryFolder();
const floats = Array.from({ length: 12 }, (_, i) => (i - 5) * 0.75);

type Options = { names?: string[]; convert?: 'float32' };
const ways: [string, (name: string, options?: Options) => Promise<Record<string, Tensor>>][] = [
  ['from bytes', (name, options) => decodeNpz(fixture(name), options)],
  ['from a file', (name, options) => readNpz(fixturePath(name), options)],
];

describe.each(ways)('archives that NumPy wrote, %s', (_way, read) => {
  test.each(['stored.npz', 'deflated.npz'])('%s', async (name) => {
    const some = await read(name, { names: ['fortran', 'bias', 'bias'] });
    expect(Object.keys(some)).toEqual(['fortran', 'bias']);
    expect(some['fortran']?.shape).toEqual([2, 3, 2]);
    expectSame(some['fortran']?.data as Float32Array, floats);
    expectSame(some['bias']?.data as Float32Array, [0.5, -1.5]);
    const all = await read(name, { convert: 'float32' });
    expect(Object.keys(all)).toEqual(['weight', 'bias', 'half', 'fortran']);
    expectSame(all['half']?.data as Float32Array, floats);
    expectSame(all['weight']?.data as Float32Array, floats);
    const error = await failure(() => read(name));
    expect(error.code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
    expect(error.message).toContain('array "half"');
  });

  test('a name that is not there', async () => {
    const error = await failure(() => read('stored.npz', { names: ['weights'] }));
    expect([error.code, error.argument]).toEqual(['ERR_CONVTRANSPOSE_INVALID_VALUE', 'names']);
    expect(error.message).toBe('names: expected names of arrays in the file ("weight", "bias", "half", "fortran"), got "weights"');
  });
});

const content = encodeNpy(new Tensor(Float32Array.of(1, 2, 3), [3]));

describe('archives', () => {
  test('entries that are no arrays are left out, names are only names', async () => {
    const bytes = archive([
      { name: 'folder/', content: new Uint8Array(0) }, { name: 'notes.txt', content: Buffer.from('x') },
      { name: '__proto__.npy', content }, { name: 'a/b.npy', content, method: 8 }, { name: '.npy', content },
    ]);
    const arrays = await decodeNpz(bytes);
    expect(Object.keys(arrays)).toEqual(['__proto__', 'a/b', '']);
    expectSame((arrays['a/b'] as Tensor).data, [1, 2, 3]);
    expect(Object.keys(await decodeNpz(archive([])))).toEqual([]);
    expect((await failure(() => decodeNpz(archive([]), { names: ['a'] }))).message).toContain('which has none');
  });

  const npy = { name: 'a.npy', content };
  const bomb = zlib.deflateRawSync(Buffer.alloc(1 << 20));
  const refused: [string, Buffer, RegExp][] = [
    ['no archive', Buffer.from('nothing'), /a well-formed zip archive at the archive/],
    ['an empty file', Buffer.alloc(0), /a well-formed zip archive at the archive/],
    ['an array twice', archive([npy, npy]), /each array once at the list of entries.*"a" again/],
    ['a damaged array', archive([{ ...npy, crc: 1 }]), /with the checksum of the archive at array "a"/],
    ['a damaged deflated array', archive([{ ...npy, method: 8, crc: 1 }]), /with the checksum of the archive at array "a"/],
    ['encrypted', archive([{ ...npy, flags: 1, packed: Buffer.alloc(content.length + 12) }]), /without encryption at array "a"/],
    ['another method', archive([{ ...npy, method: 12 }]), /stored or deflated/],
    ['a size that no DEFLATE reaches', archive([{ ...npy, method: 8, size: 0xfffffffe }]), /at most \d+ bytes at array "a", got 4294967294 bytes/],
    ['a size too small', archive([{ ...npy, method: 8, content: Buffer.alloc(1 << 20), packed: bomb, size: 100 }]), /zip archive/],
    ['a size too large', archive([{ ...npy, method: 8, size: content.length + 1 }]), /zip archive/],
    ['no DEFLATE', archive([{ ...npy, method: 8, packed: Buffer.alloc(200, 0xff) }]), /zip archive/],
    ['a stored size that is not the size', archive([{ ...npy, size: 7 }]), /zip archive/],
    ['entries that share their bytes', archive(Array.from({ length: 9 }, (_, i) => ({ name: `${i}.npy`, content, offset: 0, listedOnly: i > 0 }))), /entries of at most \d+ bytes in all/],
    ['an entry beyond the end', archive([{ ...npy, packedSize: 1e6, size: 1e6 }]), /entries of at most/],
    ['an entry at a wrong place', archive([{ ...npy, offset: 3 }]), /zip archive/],
    ['a name that leaves the folder', archive([{ ...npy, name: '../a.npy' }]), /zip archive/],
    ['an entry that is no array', archive([{ ...npy, content: Buffer.from('x') }]), /magic number.* at byte 0 of array "a"/],
  ];
  // The sum of all entries' sizes would otherwise be refused first.
  const ballast = { name: 'ballast', content: Buffer.alloc(9 * content.length) };
  test.each(refused)('refused: %s', async (what, bytes, message) => {
    const name = path.join(folder, 'refused.npz');
    writeFileSync(name, bytes);
    for (const [run, argument] of [[() => decodeNpz(bytes), 'bytes'], [() => readNpz(name), 'file']] as const) {
      const error = await failure(run);
      expect(error).toBeInstanceOf(RangeError);
      expect([what, error.code, error.argument]).toEqual([what, 'ERR_CONVTRANSPOSE_FORMAT', argument]);
      expect(error.message).toMatch(argument === 'file' ? new RegExp(message.source.replace(/"a"(?=$|,)/, '"a" of .*')) : message);
    }
  });

  test('a checksum is checked behind other entries, too', async () => {
    expect((await failure(() => decodeNpz(archive([ballast, npy, { ...npy, name: 'b.npy', crc: 2 }])))).message).toContain('array "b"');
  });

  test('errors of the file system pass through', async () => {
    expect((await failure(() => readNpz(path.join(folder, 'none.npz')))).code).toBe('ENOENT');
    expect((await failure(() => readNpz(folder))).message).toMatch(/got a directory/);
  });

  test.each([
    [() => decodeNpz('x' as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'bytes'],
    [() => decodeNpz(archive([]), { name: 'a' } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'name'],
    [() => readNpz(fixturePath('stored.npz'), { names: 'a' } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'names'],
    [() => readNpz(undefined as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'file'],
  ])('wrong arguments %#', async (run, code, argument) => {
    const error = await failure(run);
    expect([error.code, error.argument]).toEqual([code, argument]);
  });
});

describe('damaged archives', () => {
  test('give the arrays, or an error with a code', async () => {
    const outcomes = { read: 0, refused: 0 };
    const name = path.join(folder, 'damaged.npz');
    await fc.assert(fc.asyncProperty(fc.constantFrom('stored.npz', 'deflated.npz'), edits, fc.boolean(), async (seed, list, atEnd) => {
      const original = readFileSync(fixturePath(seed));
      const bytes = applyEdits(original, list, atEnd ? original.length - 300 : 0);
      writeFileSync(name, bytes);
      for (const run of [() => decodeNpz(bytes, { convert: 'float32' }), () => readNpz(name, { convert: 'float32' })]) {
        try {
          const arrays = await run();
          outcomes.read++;
          for (const { data } of Object.values(arrays)) expect(data.length).toBeLessThanOrEqual(12);
        } catch (error) {
          outcomes.refused++;
          expect(error).toMatchObject({ code: 'ERR_CONVTRANSPOSE_FORMAT' });
        }
      }
    }), { numRuns: 500 });
    expect(outcomes.read).toBeGreaterThan(10);
    expect(outcomes.refused).toBeGreaterThan(300);
  }, 60_000);
});
