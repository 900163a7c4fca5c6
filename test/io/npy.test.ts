import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import fsPromises, { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';

import { decodeNpy, encodeNpy, readNpy, writeNpy } from '../../lib/io/index';
import { Tensor } from '../../lib/tensor';
import { applyEdits, edits, expectSame, failure, fixture, fixturePath, temporaryFolder, tensors } from './support';

const folder = temporaryFolder();

/** Both ways to read a file of the fixtures. */
const ways: [string, (name: string, options?: { convert: 'float32' }) => Promise<Tensor>][] = [
  ['from bytes', async (name, options) => decodeNpy(fixture(name), options)],
  ['from a file', (name, options) => readNpy(fixturePath(name), options)],
];
const ramp = Array.from({ length: 12 }, (_, i) => i - 5);
const floats = ramp.map((value) => value * 0.75);

describe.each(ways)('files that NumPy wrote, %s', (_way, read) => {
  test.each(['f4-v1', 'f4-v2', 'f4-v3', 'f4-big-endian', 'f4-fortran', 'f4-big-endian-fortran'])('%s', async (name) => {
    const tensor = await read(`${name}.npy`);
    expect(tensor.shape).toEqual([2, 3, 2]);
    expectSame(tensor.data, floats);
  });

  test('no dimensions, one dimension with all kinds of values, five dimensions', async () => {
    const scalar = await read('f4-0d.npy');
    expect(scalar.shape).toEqual([]);
    expectSame(scalar.data, [1.5]);
    const line = await read('f4-1d.npy');
    expect(line.shape).toEqual([5]);
    expectSame(line.data, [1, -2, Infinity, NaN, -0]);
    const deep = await read('f4-5d-fortran.npy');
    expect(deep.shape).toEqual([2, 3, 1, 4, 2]);
    expectSame(deep.data, Array.from({ length: 48 }, (_, i) => i));
  });

  test.each(['f4-empty', 'f4-fortran-empty'])('%s', async (name) => {
    const tensor = await read(`${name}.npy`);
    expect(tensor.shape).toEqual([3, 0, 2]);
    expect(tensor.data.length).toBe(0);
  });

  test.each([
    'f2-little', 'f2-big', 'f8-little', 'f8-big', 'f8-fortran', 'i1', 'i2-little', 'i2-big', 'i4-little', 'i4-big', 'i8-little',
    'i8-big', 'u1', 'u2-little', 'u2-big', 'u4-little', 'u4-big', 'u8-little', 'u8-big',
  ])('%s is converted when asked, and only then', async (name) => {
    const tensor = await read(`${name}.npy`, { convert: 'float32' });
    expect(tensor.shape).toEqual([2, 3, 2]);
    expectSame(tensor.data, name.startsWith('f') ? floats : name.startsWith('i') ? ramp : ramp.map((value) => value + 5));
    const error = await failure(() => read(`${name}.npy`));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
    expect(error.message).toMatch(/convert: 'float32'.*, got (float|u?int)\d+$/);
  });

  test.each(['f8-hard', 'f2-hard', 'i8-hard', 'u8-hard'])('%s is rounded as NumPy rounds', async (name) => {
    const tensor = await read(`${name}.npy`, { convert: 'float32' });
    expectSame(tensor.data, (await read(`${name}-as-f4.npy`)).data);
  });

  test.each(['bool', 'complex', 'structured', 'text'])('%s is refused', async (name) => {
    const error = await failure(() => read(`${name}.npy`, { convert: 'float32' }));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.code).toBe('ERR_CONVTRANSPOSE_FORMAT');
  });
});

/** A version 1.0 file with any header; elements of float32 1.0. */
function file(header: string, elements = 0, version = [1, 0]): Uint8Array {
  const text = Buffer.from(header, 'latin1');
  const length = Buffer.alloc(version[0] === 1 ? 2 : 4);
  length.writeUIntLE(text.length, 0, length.length);
  const data = new Float32Array(elements).fill(1);
  return Buffer.concat([Buffer.from('\x93NUMPY', 'latin1'), Uint8Array.from(version), length, text, new Uint8Array(data.buffer)]);
}

describe('headers', () => {
  test.each([
    ['spaces anywhere', "{ 'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 2 , 3 , ) , }   \n", [2, 3]],
    ['no spaces, other order, double quotes', '{"shape":(2,3),"descr":"<f4","fortran_order":True}\n', [2, 3]],
    ['Python 2', "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}\n", [2, 3]],
    ['a zero hides a large size', "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000000)}\n", [0, 1000000]],
  ])('accepted: %s', (_what, header, shape) => {
    const count = shape[0] === 0 ? 0 : 6;
    expect(decodeNpy(file(header, count)).shape).toEqual(shape);
  });

  const refused: [string, string, number, RegExp][] = [
    ['a missing key', "{'descr': '<f4', 'shape': (2,)}\n", 2, /descr, fortran_order and shape/],
    ['a repeated key', "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", 2, /each once.*byte 35/],
    ['another key', "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}\n", 2, /the key is "x"/],
    ['an unquoted key', "{descr: '<f4', 'fortran_order': False, 'shape': (2,)}\n", 2, /a key of the header at byte 11/],
    ['a number in brackets', "{'descr': '<f4', 'fortran_order': False, 'shape': (2)}\n", 2, /","/],
    ['a list', "{'descr': '<f4', 'fortran_order': False, 'shape': [2]}\n", 2, /"\("/],
    ['only a comma', "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}\n", 1, /a dimension/],
    ['a negative size', "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}\n", 2, /a dimension/],
    ['a leading zero', "{'descr': '<f4', 'fortran_order': False, 'shape': (02,)}\n", 2, /a dimension/],
    ['a fraction', "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,)}\n", 2, /","/],
    ['an expression', "{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,)}\n", 2, /","/],
    ['a size of 2^53', "{'descr': '<f4', 'fortran_order': False, 'shape': (9007199254740992,)}\n", 2, /a dimension below 2\^53/],
    ['a very large size', "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}\n", 2, /a dimension/],
    ['a product beyond 2^53', "{'descr': '<f4', 'fortran_order': False, 'shape': (9007199254740991, 9007199254740991)}\n", 2, /2\^53/],
    ['Python 2 in version 3', "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,)}\n", 2, /","/],
    ['a word that begins with True', "{'descr': '<f4', 'fortran_order': Truely, 'shape': (2,)}\n", 2, /True or False/],
    ['a number for a boolean', "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}\n", 2, /True or False/],
    ['no newline', "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} ", 2, /newline/],
    ['text behind the dictionary', "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1\n", 2, /newline/],
    ['an escape', "{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (2,)}\n", 2, /element type/],
    ['native byte order', "{'descr': '=f4', 'fortran_order': False, 'shape': (2,)}\n", 2, /byte order at descr/],
    ['no byte order', "{'descr': '|f4', 'fortran_order': False, 'shape': (2,)}\n", 2, /byte order at descr/],
    ['quadruple precision', "{'descr': '<f16', 'fortran_order': False, 'shape': (2,)}\n", 2, /byte order at descr/],
    ['an empty type', "{'descr': '', 'fortran_order': False, 'shape': (2,)}\n", 2, /byte order at descr/],
    ['65 dimensions', `{'descr': '<f4', 'fortran_order': False, 'shape': (${'1, '.repeat(65)})}\n`, 1, /at most 64/],
    ['one element too few', "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\n", 2, /12 bytes for shape \[3\] .*got 8 bytes/],
    ['one element too many', "{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\n", 4, /12 bytes for shape \[3\] .*got 16 bytes/],
    ['an empty header', '', 2, /"\{"/],
  ];
  test.each(refused)('refused: %s', async (what, header, elements, message) => {
    const bytes = file(header, elements, [what === 'Python 2 in version 3' ? 3 : 1, 0]);
    const name = path.join(folder, 'refused.npy');
    writeFileSync(name, bytes);
    const fromBytes = await failure(() => decodeNpy(bytes));
    const fromFile = await failure(() => readNpy(name));
    for (const error of [fromBytes, fromFile]) {
      expect(error).toBeInstanceOf(RangeError);
      expect(error.code).toBe('ERR_CONVTRANSPOSE_FORMAT');
      expect(error.message).toMatch(message);
      expect(error.message).not.toContain('\n');
    }
    expect(fromBytes.argument).toBe('bytes');
    expect(fromFile.argument).toBe('file');
    expect(fromFile.message).toContain(name);
  });

  test('every shortened file and one more byte are refused', async () => {
    const bytes = encodeNpy(new Tensor(new Float32Array(3), [3]));
    for (let length = 0; length < bytes.length; length++) {
      expect((await failure(() => decodeNpy(bytes.subarray(0, length)))).code).toBe('ERR_CONVTRANSPOSE_FORMAT');
    }
    expect((await failure(() => decodeNpy(Buffer.concat([bytes, new Uint8Array(1)])))).code).toBe('ERR_CONVTRANSPOSE_FORMAT');
  });

  test.each([[0, 0], [1, 1], [4, 0], [255, 255]])('version %d.%d is refused', async (major, minor) => {
    const error = await failure(() => decodeNpy(file("{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n", 1, [major, minor])));
    expect(error.message).toContain(`got ${major}.${minor}`);
  });

  test('a header that claims 4 GB takes no memory', async () => {
    const bytes = Buffer.from(file(' '.repeat(100), 0, [2, 0]));
    bytes.writeUInt32LE(0xffffffff, 8);
    expect((await failure(() => decodeNpy(bytes))).message).toMatch(/a header of at most 100 bytes at byte 8, got 4294967295 bytes/);
    expect((await failure(() => decodeNpy(file(' '.repeat(70000), 0, [2, 0])))).message).toMatch(/at most 65536 bytes/);
  });
});

describe('writing', () => {
  test('round trips keep every bit, through memory and through files', async () => {
    const name = path.join(folder, 'round.npy');
    await fc.assert(fc.asyncProperty(tensors, async ({ data, shape }) => {
      const bytes = encodeNpy({ data, shape });
      expect(bytes.indexOf(10) % 64).toBe(63);
      await writeNpy(name, { data, dims: shape });
      expect(Buffer.compare(readFileSync(name), bytes)).toBe(0);
      for (const back of [decodeNpy(bytes), await readNpy(pathToFileURL(name))]) {
        expect(back.shape).toEqual(shape);
        expect(Buffer.compare(Buffer.from(back.data.buffer, back.data.byteOffset, back.data.byteLength),
          Buffer.from(data.buffer, data.byteOffset, data.byteLength))).toBe(0);
      }
    }), { numRuns: 60 });
  });

  test('views are written without what surrounds them, read bytes may lie at any offset', () => {
    const all = Float32Array.from({ length: 10 }, (_, i) => i);
    const bytes = encodeNpy({ data: all.subarray(3, 7), shape: [2, 2] });
    const shifted = new Uint8Array(bytes.length + 9);
    shifted.set(bytes, 7);
    expectSame(decodeNpy(shifted.subarray(7, 7 + bytes.length)).data, [3, 4, 5, 6]);
  });

  test('large float64 files are converted piece by piece', async () => {
    const count = 300_001;
    const header = "{'descr': '>f8', 'fortran_order': False, 'shape': (300001,)}\n";
    const elements = Buffer.alloc(count * 8);
    for (let i = 0; i < count; i++) elements.writeDoubleBE(i / 3, i * 8);
    const name = path.join(folder, 'large.npy');
    await writeFile(name, Buffer.concat([file(header), elements]));
    expectSame((await readNpy(name, { convert: 'float32' })).data, Float32Array.from({ length: count }, (_, i) => i / 3));
  });

  test('wrong arguments', async () => {
    const tensor = new Tensor(new Float32Array(2), [2]);
    const wrong: [() => unknown, string, string][] = [
      [() => decodeNpy('x' as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'bytes'],
      [() => decodeNpy(new Float32Array(4) as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'bytes'],
      [() => decodeNpy(encodeNpy(tensor), { convert: 'float64' as never }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'convert'],
      [() => decodeNpy(encodeNpy(tensor), { konvert: 'float32' } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'konvert'],
      [() => readNpy(7 as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'file'],
      [() => readNpy(null as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'file'],
      [() => encodeNpy([1, 2] as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'tensor'],
      [() => encodeNpy({ data: new Float32Array(3), shape: [2] }), 'ERR_CONVTRANSPOSE_SHAPE', 'tensor'],
      [() => writeNpy(path.join(folder, 'x.npy'), { data: new Float64Array(2), shape: [2] } as never), 'ERR_CONVTRANSPOSE_UNSUPPORTED', 'tensor'],
    ];
    for (const [run, code, argument] of wrong) {
      const error = await failure(run);
      expect([error.code, error.argument]).toEqual([code, argument]);
    }
  });
});

describe('files', () => {
  const tensor = new Tensor(Float32Array.of(1, 2), [2]);

  test('a failed write leaves the old file and nothing else', async () => {
    const own = path.join(folder, 'atomic');
    mkdirSync(path.join(own, 'taken.npy'), { recursive: true });
    await writeNpy(path.join(own, 'a.npy'), tensor);
    const before = readFileSync(path.join(own, 'a.npy'));
    expect((await failure(() => writeNpy(path.join(own, 'a.npy'), { data: new Float32Array(1), shape: [7] }))).code).toBe('ERR_CONVTRANSPOSE_SHAPE');
    expect((await failure(() => writeNpy(path.join(own, 'taken.npy'), tensor))).code).toBe('ERR_CONVTRANSPOSE_FORMAT');
    expect((await failure(() => writeNpy(path.join(own, 'none', 'b.npy'), tensor))).code).toBe('ENOENT');
    expect(readdirSync(own).sort()).toEqual(['a.npy', 'taken.npy']);
    expect(Buffer.compare(readFileSync(path.join(own, 'a.npy')), before)).toBe(0);
  });

  test('a write that fails at its end takes its own file away', async () => {
    const own = path.join(folder, 'unfinished');
    mkdirSync(own);
    const renamed = jest.spyOn(fsPromises, 'rename').mockRejectedValue(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }));
    expect((await failure(() => writeNpy(path.join(own, 'a.npy'), tensor))).code).toBe('EIO');
    expect(renamed).toHaveBeenCalledTimes(1);
    renamed.mockRestore();
    expect(readdirSync(own)).toEqual([]);
    await writeNpy(path.join(own, 'a.npy'), tensor);
    expect(readdirSync(own)).toEqual(['a.npy']);
  });

  test('a link is followed, a device or a pipe is refused', async () => {
    const own = path.join(folder, 'links');
    mkdirSync(own);
    await writeNpy(path.join(own, 'target.npy'), tensor);
    symlinkSync('target.npy', path.join(own, 'link.npy'));
    await writeNpy(path.join(own, 'link.npy'), new Tensor(new Float32Array(0), [0]));
    expect((await readNpy(path.join(own, 'target.npy'))).shape).toEqual([0]);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    expect((await failure(() => writeNpy('/dev/null', tensor))).code).toBe('ERR_CONVTRANSPOSE_FORMAT');
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    execFileSync('mkfifo', [path.join(own, 'pipe.npy')]);
    expect((await failure(() => readNpy(path.join(own, 'pipe.npy')))).message).toMatch(/a regular file .*, got a special file/);
    expect((await failure(() => readNpy(own))).message).toMatch(/got a directory/);
    expect((await failure(() => readNpy(path.join(own, 'none.npy')))).code).toBe('ENOENT');
  });
});

describe('damaged files', () => {
  const seeds = ['f4-v1.npy', 'f4-v2.npy', 'f4-v3.npy', 'f4-big-endian-fortran.npy', 'f8-little.npy', 'u1.npy', 'f4-0d.npy', 'f4-empty.npy'];

  test('give a tensor no larger than the file allows, or an error with a code', () => {
    const asked = jest.spyOn(Tensor, 'empty');
    const outcomes = { read: 0, refused: 0 };
    fc.assert(fc.property(fc.constantFrom(...seeds), edits, fc.boolean(), (seed, list, headerOnly) => {
      const original = fixture(seed);
      const bytes = headerOnly ? applyEdits(original, list, 10, Math.min(128, original.length)) : applyEdits(original, list);
      asked.mockClear();
      try {
        const tensor = decodeNpy(bytes, { convert: 'float32' });
        outcomes.read++;
        const again = decodeNpy(encodeNpy(tensor));
        expect(again.shape).toEqual(tensor.shape);
      } catch (error) {
        outcomes.refused++;
        expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_CONVTRANSPOSE_(FORMAT|UNSUPPORTED)$/) });
      }
      for (const [shape] of asked.mock.calls) {
        expect(shape.reduce((product, size) => product * size, 1)).toBeLessThanOrEqual(bytes.length);
      }
    }), { numRuns: 3000 });
    asked.mockRestore();
    expect(outcomes.read).toBeGreaterThan(20);
    expect(outcomes.refused).toBeGreaterThan(500);
  });
});
