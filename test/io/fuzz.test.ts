/**
 * The readers on files that are nearly right: put together from the parts of each format, with wrong ones among them, and then
 * damaged. Whatever comes, a reader gives tensors or an error with a code, takes no more memory than the file allows, ends soon, and
 * says the same about the bytes and about the file. CONVTRANSPOSE_FUZZ_RUNS=100000 runs longer; a failure prints the seed that repeats it.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Writer } from 'protobufjs/minimal';

import {
  decodeNpy, decodeNpz, decodeOnnx, decodeSafetensors, readNpy, readNpz, readOnnx, readSafetensors,
} from '../../lib/io/index';
import { Tensor } from '../../lib/tensor';
import { applyEdits, archive, edits, temporaryFolder, type CodedError } from './support';

const folder = temporaryFolder();
const runs = Number(process.env['CONVTRANSPOSE_FUZZ_RUNS'] ?? 1000);
/** Most seconds of processor time for one small file; waiting for a busy machine does not count. */
const patience = 2;

/** Mostly right, sometimes not. */
const seldom = <T>(right: fc.Arbitrary<T>, wrong: fc.Arbitrary<T>): fc.Arbitrary<T> => fc.oneof({ weight: 12, arbitrary: right }, { weight: 1, arbitrary: wrong });

const sizes = fc.array(seldom(fc.nat(3), fc.constantFrom(2 ** 20, 2 ** 31, 2 ** 40, 2 ** 53 - 1)), { maxLength: 5 });
const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
/** As many bytes as the elements need, or nearly so. */
const elements = (count: number, bytes: number) => seldom(fc.constant(0), fc.integer({ min: -2, max: 2 }))
  .map((more) => new Uint8Array(Math.min(4000, Math.max(0, count * bytes + more))).fill(0x3f));

const npyTypes = fc.tuple(fc.constantFrom('<', '>', '|', '='), fc.constantFrom('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1', 'c8', 'O'));
const npyFiles = fc.record({ type: seldom<[string, string]>(fc.constantFrom<[string, string][]>(['<', 'f4'], ['>', 'f2'], ['<', 'i8'], ['|', 'u1']), npyTypes), shape: sizes, fortran: fc.boolean(), version: seldom(fc.constantFrom(1, 2, 3), fc.nat(255)), length: seldom(fc.constant(0), fc.integer({ min: -3, max: 300 })) })
  .chain(({ type: [order, kind], shape, fortran, version, length }) => elements(product(shape), Number(kind.slice(1)) || 1).map((data) => {
    const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
    const header = Buffer.from(`{'descr': '${order}${kind}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${tuple}, }\n`);
    const prefix = Buffer.alloc(version === 1 ? 2 : 4);
    prefix.writeUIntLE(Math.max(0, header.length + length), 0, prefix.length);
    return Buffer.concat([Buffer.from('\x93NUMPY', 'latin1'), Uint8Array.of(version, 0), prefix, header, data]);
  }));

const names = fc.constantFrom('weight', 'bias', '', 'a.b', '__metadata__', '__proto__', '0', 'W', 'X', 'Y', 'value');

const safetensorsFiles = fc.record({
  tensors: fc.array(fc.record({
    name: names, dtype: fc.constantFrom('F32', 'F16', 'BF16', 'F64', 'I64', 'U8', 'BOOL', 'F4', 'F33'), shape: sizes,
    shift: seldom(fc.constant(0), fc.integer({ min: -4, max: 4 })), extra: seldom(fc.constant(undefined), fc.constant(1)),
  }), { maxLength: 4 }),
  length: seldom(fc.constant(0), fc.integer({ min: -3, max: 300 })), rest: seldom(fc.constant(0), fc.nat(9)),
}).map(({ tensors, length, rest }) => {
  const bits = { F32: 32, F16: 16, BF16: 16, F64: 64, I64: 64, U8: 8, BOOL: 8, F4: 4, F33: 33 } as const;
  let position = 0;
  const members = tensors.map(({ name, dtype, shape, shift, extra }) => {
    const begin = position;
    position += Math.min(4000, Math.max(0, Math.floor((product(shape) * bits[dtype]) / 8) + shift));
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, position], ...(extra === undefined ? {} : { extra }) })}`;
  });
  const header = Buffer.from(`{${members.join(',')}}`);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(Math.max(0, header.length + length)));
  return Buffer.concat([prefix, header, new Uint8Array(position + rest)]);
});

const zips = fc.array(fc.record({
  name: fc.constantFrom('a.npy', 'b.npy', 'c.txt', '.npy', 'd/e.npy', '../f.npy', 'a.npy/'),
  content: seldom(npyFiles, fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes))),
  method: seldom(fc.constantFrom(0, 8), fc.nat(20)),
  claims: seldom(fc.constant({}), fc.record({
    size: fc.constantFrom(0, 7, 2 ** 31, 2 ** 32 - 1), crc: fc.nat(), flags: fc.nat(0xffff), offset: fc.nat(400), packedSize: fc.constantFrom(0, 5, 2 ** 31),
  }, { requiredKeys: [] })),
}), { maxLength: 4 }).map((entries) => archive(entries.map(({ claims, ...entry }) => ({ ...entry, ...claims }))));

/** A field of a message. */
type Field = (writer: Writer) => void;
const message = (fields: readonly Field[]): Uint8Array => {
  const writer = Writer.create();
  for (const field of fields) field(writer);
  return writer.finish();
};
const bytesField = (number: number, value: Uint8Array): Field => (writer) => { writer.uint32((number << 3) | 2).bytes(value); };
const textField = (number: number, value: string): Field => (writer) => { writer.uint32((number << 3) | 2).string(value); };
const varintField = (number: number, value: number): Field => (writer) => { writer.uint32(number << 3).int64(value); };
const integers = seldom(fc.nat(3), fc.constantFrom(-1, 2 ** 31, 2 ** 53, 2 ** 62));
const repeated = (number: number, values: readonly number[]): Field => (writer) => {
  writer.uint32((number << 3) | 2).fork();
  for (const value of values) writer.int64(value);
  writer.ldelim();
};
/** Any field of any number and wire type. */
const strayField: fc.Arbitrary<Field> = fc.oneof(
  fc.tuple(fc.integer({ min: 1, max: 30 }), integers).map(([number, value]) => varintField(number, value)),
  fc.tuple(fc.integer({ min: 1, max: 30 }), fc.uint8Array({ maxLength: 12 })).map(([number, value]) => bytesField(number, value)),
  fc.integer({ min: 1, max: 30 }).map((number): Field => (writer) => { writer.uint32((number << 3) | 5).fixed32(number); }),
);
const withStray = (fields: fc.Arbitrary<Field[]>): fc.Arbitrary<Uint8Array> =>
  fc.tuple(fields, seldom<Field[]>(fc.constant([]), fc.array(strayField, { maxLength: 3 }))).map(([own, stray]) => message([...own, ...stray]));

const tensorMessages = fc.record({ name: names, shape: sizes, type: seldom(fc.constantFrom(1, 10, 11, 16), fc.nat(20)), where: fc.constantFrom('raw', 'floats', 'integers', 'external', 'nowhere') })
  .chain(({ name, shape, type, where }) => elements(product(shape), { 1: 4, 11: 8 }[type] ?? 2).chain((data) => withStray(fc.constant([
    ...shape.map((size) => varintField(1, size)), varintField(2, type), textField(8, name),
    ...(where === 'raw' ? [bytesField(9, data)] : []), ...(where === 'floats' ? [bytesField(4, data)] : []),
    ...(where === 'integers' ? [repeated(5, [...data.subarray(0, Math.ceil(data.length / 2))])] : []),
    ...(where === 'external' ? [varintField(14, 1), bytesField(13, message([textField(1, 'location'), textField(2, 'fuzz.onnx')]))] : []),
  ]))));
const attributeNames = ['strides', 'pads', 'group', 'auto_pad', 'dilations', 'output_shape', 'kernel_shape', 'output_padding', 'value', 'alpha'];
const attributeMessages = (graphs: fc.Arbitrary<Uint8Array>) => fc.tuple(fc.constantFrom(...attributeNames), fc.array(integers, { maxLength: 4 }), fc.constantFrom('SAME_UPPER', 'NOTSET', 'x'), tensorMessages, graphs)
  .chain(([name, list, word, tensor, graph]) => withStray(fc.subarray([repeated(8, list), varintField(3, list[0] ?? 1), textField(4, word), bytesField(5, tensor), bytesField(6, graph)], { minLength: 1, maxLength: 2 })
    .map((fields) => [textField(1, name), ...fields])));
const { graphMessages } = fc.letrec<{ graphMessages: Uint8Array }>((tie) => ({
  graphMessages: fc.tuple(
    fc.array(tensorMessages, { maxLength: 2 }),
    fc.array(fc.tuple(fc.constantFrom('ConvTranspose', 'Constant', 'If', 'Relu'), fc.array(names, { maxLength: 3 }), fc.array(attributeMessages(
      fc.oneof({ depthSize: 'small', withCrossShrink: true }, fc.constant(new Uint8Array(0)), tie('graphMessages'))), { maxLength: 2 })), { maxLength: 3 }),
  ).chain(([tensors, nodes]) => withStray(fc.constant([
    ...tensors.map((tensor) => bytesField(5, tensor)),
    ...nodes.map(([operator, inputs, attributes]) => bytesField(1, message([
      ...inputs.map((name) => textField(1, name)), textField(2, 'W'), textField(4, operator), ...attributes.map((attribute) => bytesField(5, attribute)),
    ]))),
  ]))),
}));
const models = fc.tuple(graphMessages, seldom(fc.constant(13), integers)).chain(([graph, opset]) =>
  withStray(fc.constant([bytesField(8, message([varintField(2, opset)])), bytesField(7, graph)])).map((bytes) => Buffer.from(bytes)));

/** What a reader said: its tensors' bits by name, or its error without the place. */
async function outcome(read: () => unknown, asked: { mock: { calls: unknown[][] } }, limit: number): Promise<string> {
  const start = process.cpuUsage();
  let said: string;
  try {
    said = JSON.stringify(await read(), (_key, value: unknown) =>
      (value instanceof Tensor ? [value.shape, Buffer.from(value.data.buffer, value.data.byteOffset, value.data.byteLength).toString('base64')] : value));
  } catch (error) {
    const { code } = error as CodedError;
    if (!/^ERR_CONVTRANSPOSE_(FORMAT|UNSUPPORTED)$/.test(code)) throw error;
    said = code;
  }
  const { user, system } = process.cpuUsage(start);
  expect((user + system) / 1e6).toBeLessThan(patience);
  for (const [shape] of asked.mock.calls) expect(product(shape as number[])).toBeLessThanOrEqual(limit);
  asked.mock.calls.length = 0;
  return said;
}

const formats = {
  npy: { files: npyFiles, decode: (bytes: Uint8Array) => decodeNpy(bytes, { convert: 'float32' }), read: (name: string) => readNpy(name, { convert: 'float32' }), inflation: 1 },
  safetensors: { files: safetensorsFiles, decode: (bytes: Uint8Array) => decodeSafetensors(bytes, { convert: 'float32' }), read: (name: string) => readSafetensors(name, { convert: 'float32' }), inflation: 1 },
  npz: { files: zips, decode: (bytes: Uint8Array) => decodeNpz(bytes, { convert: 'float32' }), read: (name: string) => readNpz(name, { convert: 'float32' }), inflation: 1032 },
  onnx: { files: models, decode: (bytes: Uint8Array) => decodeOnnx(bytes, { convert: 'float32' }), read: (name: string) => readOnnx(name, { convert: 'float32' }), inflation: 1 },
};

test.each(Object.entries(formats))('%s', async (format, { files, decode, read, inflation }) => {
  const name = path.join(folder, `fuzz.${format}`);
  const asked = jest.spyOn(Tensor, 'empty');
  const outcomes = { read: 0, refused: 0 };
  const damaged = fc.tuple(files as fc.Arbitrary<Buffer>, seldom(fc.constant(undefined), edits)).map(([bytes, list]) => (list === undefined ? bytes : applyEdits(bytes, list)));
  await fc.assert(fc.asyncProperty(damaged, async (bytes) => {
    writeFileSync(name, bytes);
    const limit = bytes.length * inflation;
    const fromBytes = await outcome(() => decode(bytes), asked, limit);
    const fromFile = await outcome(() => read(name), asked, limit);
    // Only the file form of .onnx reads elements from another file, here from the model itself.
    if (format !== 'onnx' || fromBytes !== 'ERR_CONVTRANSPOSE_FORMAT') expect(fromFile).toBe(fromBytes);
    if (fromBytes.startsWith('ERR_')) outcomes.refused++;
    else outcomes.read++;
  }), { numRuns: runs });
  asked.mockRestore();
  // Both happen often enough to mean something.
  expect(outcomes.read).toBeGreaterThan(runs / 50);
  expect(outcomes.refused).toBeGreaterThan(runs / 50);
}, 60_000 + runs * 20);
