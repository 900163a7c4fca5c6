/** Fused activations: the option, and what the addon is told of it. */
import { argumentError, describe, list, typeError, valueError } from './errors';
import { isOptionsObject, nearestName } from './options';
import { elementCount } from './shape';
import { allocate, checkLength, makeTensor, readTensor, type TensorLike, type TensorView } from './tensor';

/**
 * What is applied to every output before it is stored, with the semantics and defaults of `torch.nn.functional`. The words are
 * short for objects without parameters.
 *
 * | type | parameters | output |
 * |---|---|---|
 * | `'relu'` | | max(y, 0) |
 * | `'clamp'` | `min`, `max`: no bound if left out | min(max(y, min), max) |
 * | `'leakyRelu'` | `negativeSlope` 0.01 | y > 0 ? y : negativeSlope * y |
 * | `'prelu'` | `weight` [out] or [1], copied | y > 0 ? y : weight * y |
 * | `'tanh'`, `'sigmoid'`, `'silu'` | | tanh(y), 1 / (1 + exp(-y)), y / (1 + exp(-y)) |
 * | `'gelu'` | `approximate` `'none'` or `'tanh'` | y * (probability that a normal variable is below y) |
 * | `'elu'` | `alpha` 1 | y < 0 ? alpha * (exp(y) - 1) : y |
 */
export type Activation =
  | 'relu' | 'leakyRelu' | 'tanh' | 'sigmoid' | 'gelu' | 'silu' | 'elu'
  | { readonly type: 'relu' | 'tanh' | 'sigmoid' | 'silu' }
  | { readonly type: 'clamp'; readonly min?: number; readonly max?: number }
  | { readonly type: 'leakyRelu'; readonly negativeSlope?: number }
  | { readonly type: 'prelu'; readonly weight: TensorLike }
  | { readonly type: 'gelu'; readonly approximate?: 'none' | 'tanh' }
  | { readonly type: 'elu'; readonly alpha?: number };

/** The activation as the addon takes it. */
export interface ActivationCode {
  /** Of the enumeration of native/problem/problem.h. */
  readonly kind: number;
  readonly lower: number;
  readonly upper: number;
  readonly alpha: number;
  /** Of prelu: one for each output channel, or one for all. */
  readonly weight: TensorView | undefined;
}

export const noActivation: ActivationCode = { kind: 0, lower: -Infinity, upper: Infinity, alpha: 0, weight: undefined };

const kinds = { relu: 0, clamp: 0, leakyRelu: 1, prelu: 2, tanh: 3, sigmoid: 4, gelu: 5, geluTanh: 6, silu: 7, elu: 8 } as const;

type Type = Exclude<keyof typeof kinds, 'geluTanh'>;

/** The parameters of each type. */
const parameters: Readonly<Record<Type, readonly string[]>> = {
  relu: [], clamp: ['min', 'max'], leakyRelu: ['negativeSlope'], prelu: ['weight'], tanh: [], sigmoid: [], gelu: ['approximate'], silu: [],
  elu: ['alpha'],
};

const types = Object.keys(parameters).map((type) => `'${type}'`).join(', ');

function toType(value: unknown, argument: string): Type {
  if (typeof value !== 'string') throw typeError(argument, `one of ${types}`, value);
  if (Object.hasOwn(parameters, value)) return value as Type;
  const near = nearestName(value, Object.keys(parameters));
  throw valueError(argument, `one of ${types}${near === undefined ? '' : ` (did you mean '${near}'?)`}`, value);
}

/** A float32 number. */
function toNumber(value: unknown, argument: string, missing: number, isFinite: boolean): number {
  if (value === undefined) return missing;
  if (typeof value !== 'number') throw typeError(argument, 'a number', value);
  const rounded = Math.fround(value);
  if (Number.isNaN(value)) throw valueError(argument, 'a number', value);
  if (isFinite && !Number.isFinite(rounded)) throw valueError(argument, 'a finite float32 number', value);
  return rounded;
}

/** Reads `activation`, each value once. */
export function readActivation(value: unknown): ActivationCode {
  if (value === undefined) return noActivation;
  const argument = 'activation';
  const isWord = typeof value === 'string';
  if (!isWord && !isOptionsObject(value)) throw typeError(argument, `one of ${types}, or an object with such a type`, value);
  const source: Record<string, unknown> = isWord ? {} : value;
  const type = isWord ? toType(value, argument) : toType(source['type'], `${argument}.type`);
  for (const key of Object.keys(source)) {
    if (key === 'type' || parameters[type].includes(key)) continue;
    const expected = ['type', ...parameters[type]].join(', ');
    throw argumentError('ERR_CONVTRANSPOSE_UNKNOWN_OPTION', argument, `the keys ${expected} for '${type}'`, `the unknown key ${describe(key)}`);
  }
  const given = Object.fromEntries(parameters[type].map((name) => [name, source[name]]));
  const code = { ...noActivation, kind: kinds[type] };
  switch (type) {
    case 'relu':
      return { ...code, lower: 0 };
    case 'clamp': {
      const lower = toNumber(given['min'], `${argument}.min`, -Infinity, false);
      const upper = toNumber(given['max'], `${argument}.max`, Infinity, false);
      if (lower > upper) throw valueError(`${argument}.max`, `at least min (${lower})`, upper);
      return { ...code, lower, upper };
    }
    case 'leakyRelu':
      return { ...code, alpha: toNumber(given['negativeSlope'], `${argument}.negativeSlope`, Math.fround(0.01), true) };
    case 'elu':
      return { ...code, alpha: toNumber(given['alpha'], `${argument}.alpha`, 1, true) };
    case 'prelu':
      if (isWord) throw argumentError('ERR_CONVTRANSPOSE_INVALID_VALUE', argument, "{ type: 'prelu', weight }", '"prelu"');
      return { ...code, weight: readTensor(given['weight'], `${argument}.weight`) };
    case 'gelu': {
      const approximate = given['approximate'] ?? 'none';
      if (approximate !== 'none' && approximate !== 'tanh') {
        throw (typeof approximate === 'string' ? valueError : typeError)(`${argument}.approximate`, "'none' or 'tanh'", approximate);
      }
      return approximate === 'tanh' ? { ...code, kind: kinds.geluTanh } : code;
    }
    default:
      return code;
  }
}

/** The slopes of prelu, one for each output channel, in memory of the package: null for other activations. */
export function makeSlopes({ weight }: ActivationCode, outChannels: number): Float32Array | null {
  if (weight === undefined) return null;
  const argument = 'activation.weight';
  const isSingle = weight.shape.length === 0 || (weight.shape.length === 1 && weight.shape[0] === 1);
  if (!isSingle && (weight.shape.length !== 1 || weight.shape[0] !== outChannels)) {
    throw argumentError('ERR_CONVTRANSPOSE_SHAPE', argument, `shape [${outChannels}] or [1]`, list(weight.shape));
  }
  checkLength(weight, elementCount(weight.shape, argument), argument);
  const slopes = allocate(outChannels, argument);
  if (isSingle) slopes.fill(weight.data[0] as number);
  else slopes.set(weight.data);
  return slopes;
}

/** The activation as a module shows it, with all parameters; null if there is none. */
export function publicActivation(code: ActivationCode, slopes: Float32Array | null): Activation | null {
  const { kind, lower, upper, alpha } = code;
  if (slopes !== null) return Object.freeze({ type: 'prelu', weight: makeTensor(slopes.slice(), Object.freeze([slopes.length])) });
  switch (kind) {
    case kinds.clamp:
      if (lower === -Infinity && upper === Infinity) return null;
      return Object.freeze(lower === 0 && upper === Infinity ? { type: 'relu' } : { type: 'clamp', min: lower, max: upper });
    case kinds.leakyRelu:
      return Object.freeze({ type: 'leakyRelu', negativeSlope: alpha });
    case kinds.elu:
      return Object.freeze({ type: 'elu', alpha });
    case kinds.gelu:
      return Object.freeze({ type: 'gelu', approximate: 'none' });
    case kinds.geluTanh:
      return Object.freeze({ type: 'gelu', approximate: 'tanh' });
    default:
      return Object.freeze({ type: kind === kinds.tanh ? 'tanh' : kind === kinds.sigmoid ? 'sigmoid' : 'silu' });
  }
}
