/** A layer and its calls as the addon takes them: [1, channels, size, size] to [1, channels, 2*size, 2*size] with k4 s2 p1. */
import { loadNative, type NativeFailure, type NativeLayer } from '../../lib/native';
import { algorithms } from '../../lib/options';
import { values } from '../support/data';

const kernel = 4;

export interface Problem {
  layer: Float64Array;
  call: Float64Array;
  weight: Float32Array;
  bias: Float32Array;
  input: Float32Array;
  outLength: number;
}

/** Fills the slots that the addon names; those that `fields` leaves out get 0. */
export function slots(names: readonly string[], fields: Readonly<Record<string, number>>): Float64Array {
  const unknown = Object.keys(fields).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`no slots ${unknown.join()}`);
  return Float64Array.from(names, (name) => fields[name] ?? 0);
}

export function makeProblem(channels: number, size: number): Problem {
  const { layerFields, callFields } = loadNative();
  return {
    layer: slots(layerFields, {
      rank: 2, groups: 1, inChannels: channels, outChannels: channels, kernel0: 1, kernel1: kernel, kernel2: kernel,
      stride0: 1, stride1: 2, stride2: 2, dilation0: 1, dilation1: 1, dilation2: 1, hasBias: 1,
    }),
    call: slots(callFields, {
      batch: 1, in0: 1, in1: size, in2: size, padBegin1: 1, padBegin2: 1, out0: 1, out1: 2 * size, out2: 2 * size,
      lower: -Infinity, upper: Infinity, weightsReused: 1,
    }),
    weight: values('mixed', 1, channels * channels * kernel * kernel),
    bias: values('mixed', 2, channels),
    input: values('mixed', 3, channels * size * size),
    outLength: channels * 4 * size * size,
  };
}

/** The pointwise layer y = 2x on a plane of height x width: as much copying as computing. */
export function makeDoubling(height: number, width: number): { layer: NativeLayer; call: Float64Array } {
  const native = loadNative();
  const layer = native.createLayer(slots(native.layerFields, {
    rank: 2, groups: 1, inChannels: 1, outChannels: 1, kernel0: 1, kernel1: 1, kernel2: 1, stride0: 1, stride1: 1, stride2: 1,
    dilation0: 1, dilation1: 1, dilation2: 1,
  }), Float32Array.of(2), null);
  const call = slots(native.callFields, {
    batch: 1, in0: 1, in1: height, in2: width, out0: 1, out1: height, out2: width, lower: -Infinity, upper: Infinity,
    weightsReused: 1,
  });
  return { layer, call };
}

export function createLayer(p: Problem): NativeLayer {
  return loadNative().createLayer(p.layer, p.weight, p.bias);
}

/** The right answer, by the reference algorithm and in memory that nothing else touches. */
export function expectedOutput(p: Problem): Float32Array {
  const native = loadNative();
  const reference = p.call.slice();
  reference[native.callFields.indexOf('algorithm')] = algorithms.indexOf('reference');
  const out = new Float32Array(p.outLength);
  native.run(p.layer, reference, p.input, p.weight, p.bias, out, 1);
  return out;
}

/** Whether both hold the same values up to the rounding of a few thousand products. */
export function isClose(got: Float32Array, wanted: Float32Array): boolean {
  return got.length === wanted.length && got.every((value, i) => Math.abs(value - (wanted[i] as number)) <= 1e-3);
}

/** The outcome of an asynchronous call: 'done' or the code of its failure. */
export function outcome(start: (done: (failure: NativeFailure | null) => void) => number): Promise<string> {
  return new Promise((resolve) => {
    start((failure) => resolve(failure === null ? 'done' : failure.code));
  });
}

export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
export const delay = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
