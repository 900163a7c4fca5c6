import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';

import {
  decodeSafetensors, encodeSafetensors, inspectSafetensors, readSafetensors, SafetensorsFile, writeSafetensors,
} from '../../lib/io/index';
import { Tensor } from '../../lib/tensor';
import { applyEdits, edits, expectSame, failure, fixture, fixturePath, temporaryFolder, tensors } from './support';

const folder = temporaryFolder();
const ramp = Array.from({ length: 12 }, (_, i) => i - 5);
const floats = ramp.map((value) => value * 0.75);

interface Options { names?: string[]; convert?: 'float32' }
const ways: [string, (name: string, options?: Options) => Promise<Record<string, Tensor>>][] = [
  ['from bytes', async (name, options) => decodeSafetensors(fixture(name), options)],
  ['from a file', (name, options) => readSafetensors(fixturePath(name), options)],
];

/** A file with any header and as many zeros behind it. */
function file(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const text = Buffer.from(header as string);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, new Uint8Array(dataBytes)]);
}

describe.each(ways)('files as other programs write them, %s', (_way, read) => {
  test('float32 tensors', async () => {
    const layer = await read('layer.safetensors');
    expect(Object.keys(layer)).toEqual(['bias', 'weight']);
    expect(layer['weight']?.shape).toEqual([2, 3, 2]);
    expectSame(layer['weight']?.data as Float32Array, floats);
    expectSame(layer['bias']?.data as Float32Array, [0.5, -1.5]);
  });

  test('a file without tensors', async () => {
    expect(Object.keys(await read('nothing.safetensors'))).toEqual([]);
  });

  test('only the tensors that are named', async () => {
    const some = await read('types.safetensors', { names: ['scalar', 'empty', 'f32', 'f32'] });
    expect(Object.keys(some)).toEqual(['scalar', 'empty', 'f32']);
    expect(some['scalar']?.shape).toEqual([]);
    expectSame(some['scalar']?.data as Float32Array, [2.5]);
    expect(some['empty']?.shape).toEqual([0, 7]);
    expectSame(some['f32']?.data as Float32Array, floats);
  });

  test.each([
    ['f64', floats], ['f16', floats], ['bf16', floats], ['i64', ramp], ['i32', ramp], ['u8', ramp.map((value) => value + 5)],
  ])('%s is converted when asked, and only then', async (name, values) => {
    expectSame((await read('types.safetensors', { names: [name], convert: 'float32' }))[name]?.data as Float32Array, values);
    const error = await failure(() => read('types.safetensors', { names: [name] }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
    expect(error.message).toMatch(new RegExp(`tensor "${name}".*convert: 'float32'.*, got ${name.toUpperCase()}$`));
  });

  test.each(['bool', 'f4'])('%s is refused when it is read, not before', async (name) => {
    const error = await failure(() => read('types.safetensors', { names: [name], convert: 'float32' }));
    expect(error.code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
    expect((await failure(() => read('types.safetensors', { convert: 'float32' }))).code).toBe('ERR_CONVTRANSPOSE_UNSUPPORTED');
  });

  test('a name that is not there', async () => {
    const error = await failure(() => read('layer.safetensors', { names: ['weights'] }));
    expect([error.code, error.argument]).toEqual(['ERR_CONVTRANSPOSE_INVALID_VALUE', 'names']);
    expect(error.message).toBe('names: expected names of tensors in the file ("bias", "weight"), got "weights"');
  });
});

describe('headers', () => {
  test('are listed without reading tensors', async () => {
    const header = inspectSafetensors(fixture('types.safetensors'));
    expect([...header.entries].map(([name, { dtype, shape }]) => `${name} ${dtype} ${shape.join('x')}`)).toEqual([
      'f64 F64 2x3x2', 'i64 I64 2x3x2', 'f32 F32 2x3x2', 'i32 I32 12', 'bf16 BF16 2x3x2', 'f16 F16 2x3x2', 'u8 U8 3x4', 'bool BOOL 3',
      'f4 F4 2x3', 'scalar F32 ', 'empty F32 0x7',
    ]);
    expect({ ...inspectSafetensors(fixture('layer.safetensors')).metadata }).toEqual({ format: 'pt', 'naïve': 'ключ "quoted" \n' });
    const opened = await SafetensorsFile.open(fixturePath('layer.safetensors'));
    expect([...opened.entries.keys()]).toEqual(['bias', 'weight']);
    expect(opened.metadata['format']).toBe('pt');
    const both = await Promise.all([opened.read({ names: ['bias'] }), opened.read({ names: ['weight'] })]);
    expectSame(both[0]['bias']?.data as Float32Array, [0.5, -1.5]);
    expectSame(both[1]['weight']?.data as Float32Array, floats);
    await opened.close();
  });

  const f32 = (begin: number, end: number, shape = (end - begin) / 4) => `{"dtype":"F32","shape":[${shape}],"data_offsets":[${begin},${end}]}`;
  test.each([
    ['blanks of all kinds', `{ "a"\t:\n{ "shape" : [ 1 ] , "dtype":"F32", "data_offsets":[0,4] }\r}   `, 4, ['a']],
    ['any order', `{"b":${f32(4, 8)},"a":${f32(0, 4)}}`, 8, ['a', 'b']],
    ['empty tensors between others', `{"a":${f32(0, 4)},"e":${f32(4, 4)},"d":${f32(4, 4)},"b":${f32(4, 8)}}`, 8, ['a', 'e', 'd', 'b']],
    ['names like those of every object', `{"__proto__":${f32(0, 4)},"constructor":${f32(4, 8)}}`, 8, ['__proto__', 'constructor']],
    ['escapes', `{"\\u0061\\n\\ud83d\\ude00":${f32(0, 4)}}`, 4, ['a\n😀']],
    ['empty metadata', '{"__metadata__":{}}', 0, []],
  ])('accepted: %s', (_what, header, dataBytes, names) => {
    expect(Object.keys(decodeSafetensors(file(header, dataBytes)))).toEqual(names);
  });

  test.each([
    ['no object', '[]', 0, /"\{" at character 0/],
    ['a blank in front', ` {}`, 0, /"\{" at character 0/],
    ['a byte order mark', '\ufeff{}', 0, /"\{" at character 0/],
    ['text behind the object', '{} {}', 0, /spaces after the JSON object/],
    ['a newline behind the object', '{}\n', 0, /spaces after the JSON object/],
    ['a comma at the end', `{"a":${f32(0, 4)},}`, 4, /a string/],
    ['a repeated tensor', `{"a":${f32(0, 4)},"a":${f32(4, 8)}}`, 8, /"a" is repeated/],
    ['a tensor repeated by escapes', `{"a":${f32(0, 4)},"\\u0061":${f32(4, 8)}}`, 8, /"a" is repeated/],
    ['a repeated key', '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4, /each once \(the key is "dtype"\)/],
    ['another key', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', 4, /the key is "x"/],
    ['a missing key', '{"a":{"dtype":"F32","shape":[1]}}', 4, /dtype, shape and two data_offsets/],
    ['one offset', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}', 4, /two data_offsets/],
    ['three offsets', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', 4, /at most 2/],
    ['an unknown type', '{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}', 4, /dtype of tensor "a"/],
    ['a type of every object', '{"a":{"dtype":"constructor","shape":[1],"data_offsets":[0,4]}}', 4, /dtype of tensor "a"/],
    ['a negative size', '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4, /unsigned integer/],
    ['a fraction', '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', 4, /unsigned integer/],
    ['an exponent', '{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', 4, /unsigned integer/],
    ['a leading zero', '{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}', 4, /unsigned integer/],
    ['a size of 2^53', '{"a":{"dtype":"F32","shape":[9007199254740992],"data_offsets":[0,4]}}', 4, /unsigned integer/],
    ['a product beyond 2^53', '{"a":{"dtype":"F32","shape":[9007199254740991,4096],"data_offsets":[0,4]}}', 4, /shape of tensor "a"/],
    ['a size that does not fit its bytes', `{"a":${f32(0, 4, 2)}}`, 4, /8 bytes for F32 of shape \[2\].*got 4 bytes/],
    ['half a byte', '{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}', 1, /0.5 bytes for F4/],
    ['end before begin', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}', 4, /got -4 bytes/],
    ['a hole', `{"a":${f32(0, 4)},"b":${f32(8, 12)}}`, 12, /begins at 4, without hole or overlap.*got 8/],
    ['a hole in front', `{"a":${f32(4, 8)}}`, 8, /begins at 0/],
    ['an overlap', `{"a":${f32(0, 8)},"b":${f32(4, 8)}}`, 8, /begins at 8/],
    ['twice the same bytes', `{"a":${f32(0, 4)},"b":${f32(0, 4)}}`, 4, /begins at 4/],
    ['too few bytes', `{"a":${f32(0, 8)}}`, 4, /8 bytes at the elements.*got 4 bytes/],
    ['too many bytes', `{"a":${f32(0, 4)}}`, 8, /4 bytes at the elements.*got 8 bytes/],
    ['metadata that is no object', '{"__metadata__":"x"}', 0, /"\{"/],
    ['metadata that is no text', '{"__metadata__":{"x":1}}', 0, /a string/],
    ['metadata nested', '{"__metadata__":{"x":{}}}', 0, /a string/],
    ['metadata twice', '{"__metadata__":{},"__metadata__":{}}', 0, /only once/],
    ['a metadata key twice', '{"__metadata__":{"x":"1","x":"1"}}', 0, /"x" is repeated/],
    ['a control character', `{"\u0001":${f32(0, 4)}}`, 4, /a string/],
    ['an escape that JSON does not have', `{"\\x41":${f32(0, 4)}}`, 4, /a string/],
    ['an open string', '{"abc', 0, /a string/],
    ['an open escape', '{"abc\\', 0, /a string/],
    ['a lone surrogate', `{"\\ud800":${f32(0, 4)}}`, 4, /lone surrogates/],
    ['65 dimensions', `{"a":{"dtype":"F32","shape":[${'1,'.repeat(64)}1],"data_offsets":[0,4]}}`, 4, /at most 64/],
    ['an empty header', '', 0, /"\{"/],
  ])('refused: %s', async (_what, header, dataBytes, message) => {
    const bytes = file(header, dataBytes);
    const name = path.join(folder, 'refused.safetensors');
    writeFileSync(name, bytes);
    const fromBytes = await failure(() => decodeSafetensors(bytes));
    const fromFile = await failure(() => readSafetensors(name));
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

  test('bytes that are not UTF-8', async () => {
    expect((await failure(() => inspectSafetensors(file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d))))).message).toMatch(/UTF-8/);
  });

  test.each([[100n, '100'], [100_000_001n, '100000001'], [2n ** 53n, '9007199254740992'], [2n ** 64n - 1n, '18446744073709551615']])(
    'a header that claims %d bytes takes no memory', async (length, text) => {
      const error = await failure(() => inspectSafetensors(file('{}', 0, length)));
      expect(error.message).toMatch(new RegExp(`at most 2 bytes at byte 0, got ${text} bytes`));
    });

  test('every shortened file is refused', async () => {
    const bytes = fixture('layer.safetensors');
    for (let length = 0; length < bytes.length; length++) {
      expect((await failure(() => inspectSafetensors(bytes.subarray(0, length)))).code).toBe('ERR_CONVTRANSPOSE_FORMAT');
    }
  });

  test('only what is asked for is read, also beyond 2^32 bytes', async () => {
    const huge = 2 ** 33;
    const name = path.join(folder, 'sparse.safetensors');
    const header = `{"big":${f32(0, huge)},"small":${f32(huge, huge + 8)}}`;
    writeFileSync(name, file(header));
    truncateSync(name, 8 + header.length + huge + 8);
    const asked = jest.spyOn(Tensor, 'empty');
    const { small } = await readSafetensors(name, { names: ['small'] });
    expectSame(small?.data as Float32Array, [0, 0]);
    expect(asked.mock.calls).toEqual([[[2]]]);
    asked.mockRestore();
  });

  test('a file that becomes shorter while it is open is an error', async () => {
    const name = path.join(folder, 'shrinking.safetensors');
    writeFileSync(name, fixture('layer.safetensors'));
    const opened = await SafetensorsFile.open(name);
    truncateSync(name, fixture('layer.safetensors').length - 4);
    const error = await failure(() => opened.read());
    expect(error.code).toBe('ERR_CONVTRANSPOSE_FORMAT');
    expect(error.message).toMatch(/4 more bytes at byte \d+ of .*, got the end of a file that became shorter/);
    await opened.close();
  });

  test('names and texts of megabytes are read in linear time', () => {
    const long = 'x\\n'.repeat(2_000_000);
    const header = inspectSafetensors(file(`{"__metadata__":{"k":"${long}"},"${long}":${f32(0, 4)}}`, 4));
    expect(header.metadata['k']?.length).toBe(4_000_000);
    expect([...header.entries.keys()][0]?.length).toBe(4_000_000);
  });
});

describe('writing', () => {
  const names = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 8 }), fc.constantFrom('weight', 'bias', '0', '10', '__proto__', 'toString'))
    .filter((name) => name !== '__metadata__' && !/\p{Surrogate}/u.test(name));

  test('round trips keep every bit and all text, through memory and through files', async () => {
    const name = path.join(folder, 'round.safetensors');
    const dictionary = fc.uniqueArray(fc.tuple(names, tensors), { selector: ([key]) => key, maxLength: 5 });
    const metadata = fc.option(fc.uniqueArray(fc.tuple(names, names), { selector: ([key]) => key, maxLength: 3 }), { nil: undefined });
    await fc.assert(fc.asyncProperty(dictionary, metadata, async (entries, text) => {
      const options = text === undefined ? {} : { metadata: Object.fromEntries(text) };
      const bytes = Buffer.from(encodeSafetensors(Object.fromEntries(entries), options));
      const headerBytes = Number(bytes.readBigUInt64LE());
      expect(headerBytes % 8).toBe(0);
      const json = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, unknown>;
      expect(Object.keys(json).length).toBe(entries.length + (text === undefined ? 0 : 1));
      await writeSafetensors(name, Object.fromEntries([...entries].reverse()), options);
      expect(Buffer.compare(readFileSync(name), bytes)).toBe(0);
      for (const back of [decodeSafetensors(bytes), await readSafetensors(name)]) {
        expect(Object.keys(back).length).toBe(entries.length);
        for (const [key, { data, shape }] of entries) {
          const got = back[key] as Tensor;
          expect(got.shape).toEqual(shape);
          expect(Buffer.compare(Buffer.from(got.data.buffer, got.data.byteOffset, got.data.byteLength),
            Buffer.from(data.buffer, data.byteOffset, data.byteLength))).toBe(0);
        }
      }
      for (const [key, value] of text ?? []) expect(inspectSafetensors(bytes).metadata[key]).toBe(value);
    }), { numRuns: 60 });
  });

  test('tensors are sorted by the bytes of their names, numbers too', () => {
    const one = new Tensor(new Float32Array(1), []);
    const bytes = encodeSafetensors({ 10: one, 9: one, b: one, 'é': one, B: one, '\u{1f600}': one, '\uff5e': one });
    expect([...inspectSafetensors(bytes).entries.keys()]).toEqual(['10', '9', 'B', 'b', 'é', '\uff5e', '\u{1f600}']);
    expect(Buffer.from(bytes).toString('utf8', 8, 70)).toBe('{"10":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"9":{"dt');
  });

  test('what this writes is byte for byte what the reference implementation would', () => {
    const weight = new Tensor(Float32Array.from(floats), [2, 3, 2]);
    const bias = new Tensor(Float32Array.of(0.5, -1.5), [2]);
    const metadata = { 'naïve': 'ключ "quoted" \n', format: 'pt' };
    expect(Buffer.compare(encodeSafetensors({ weight, bias }, { metadata }), fixture('layer.safetensors'))).toBe(0);
    expect(Buffer.compare(encodeSafetensors({}), fixture('nothing.safetensors'))).toBe(0);
  });

  test('wrong arguments', async () => {
    const tensor = new Tensor(new Float32Array(2), [2]);
    const wrong: [() => unknown, string, string][] = [
      [() => decodeSafetensors({} as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'bytes'],
      [() => inspectSafetensors('x' as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'bytes'],
      [() => decodeSafetensors(fixture('layer.safetensors'), { names: 'bias' } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'names'],
      [() => decodeSafetensors(fixture('layer.safetensors'), { names: [1] } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'names'],
      [() => decodeSafetensors(fixture('layer.safetensors'), { name: ['bias'] } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'name'],
      [() => readSafetensors(fixturePath('layer.safetensors'), { convert: true } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'convert'],
      [() => SafetensorsFile.open(undefined as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'file'],
      [() => encodeSafetensors([tensor] as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'tensors'],
      [() => encodeSafetensors({ a: 1 } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'tensors["a"]'],
      [() => encodeSafetensors({ a: { data: new Float32Array(1), shape: [2] } }), 'ERR_CONVTRANSPOSE_SHAPE', 'tensors["a"]'],
      [() => encodeSafetensors({ __metadata__: tensor }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'tensors'],
      [() => encodeSafetensors({ '\ud800': tensor }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'tensors'],
      [() => encodeSafetensors({ tensor }, { metadata: { a: 1 } } as never), 'ERR_CONVTRANSPOSE_INVALID_TYPE', 'metadata["a"]'],
      [() => encodeSafetensors({ tensor }, { metadata: { a: '\udc00' } }), 'ERR_CONVTRANSPOSE_INVALID_VALUE', 'metadata'],
      [() => encodeSafetensors({ tensor }, { meta: {} } as never), 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION', 'meta'],
    ];
    for (const [run, code, argument] of wrong) {
      const error = await failure(run);
      expect([error.code, error.argument]).toEqual([code, argument]);
    }
  });
});

describe('damaged files', () => {
  test('give tensors no larger than the file allows, or an error with a code', () => {
    const asked = jest.spyOn(Tensor, 'empty');
    const outcomes = { read: 0, refused: 0 };
    const seeds = fc.constantFrom('layer.safetensors', 'types.safetensors', 'nothing.safetensors');
    fc.assert(fc.property(seeds, edits, fc.constantFrom('anywhere', 'header', 'header, length repaired'), (seed, list, where) => {
      const original = fixture(seed);
      const headerEnd = 8 + Number(Buffer.from(original).readBigUInt64LE());
      let bytes = where === 'anywhere' ? applyEdits(original, list) : applyEdits(original, list, 8, headerEnd);
      if (where === 'header, length repaired') {
        bytes = Uint8Array.from(bytes);
        new DataView(bytes.buffer).setBigUint64(0, BigInt(headerEnd - 8 + bytes.length - original.length), true);
      }
      asked.mockClear();
      try {
        const { entries } = inspectSafetensors(bytes);
        const json = JSON.parse(Buffer.from(bytes).toString('utf8', 8, 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)))) as
          Record<string, { dtype: string; shape: number[] }>;
        for (const [name, { dtype, shape }] of entries) expect(json[name]).toMatchObject({ dtype, shape });
        const names = [...entries].filter(([, { dtype }]) => dtype !== 'BOOL' && !/^F[468](_|$)/.test(dtype) && dtype !== 'C64').map(([name]) => name);
        expect(Object.keys(decodeSafetensors(bytes, { names, convert: 'float32' })).sort()).toEqual(names.sort());
        outcomes.read++;
      } catch (error) {
        outcomes.refused++;
        expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_CONVTRANSPOSE_FORMAT$/) });
      }
      const elements = asked.mock.calls.reduce((sum, [shape]) => sum + shape.reduce((product, size) => product * size, 1), 0);
      expect(elements).toBeLessThanOrEqual(bytes.length);
    }), { numRuns: 3000 });
    asked.mockRestore();
    expect(outcomes.read).toBeGreaterThan(20);
    expect(outcomes.refused).toBeGreaterThan(500);
  });
});
