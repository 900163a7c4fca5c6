/** Modules straight from PyTorch's state dictionaries. */
import { geometryOptionNames, type ConvTransposeOptions } from '../functional';
import { ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, type ConvTransposeModule } from '../modules';
import { readOptions, runOptionNames, type RawOptions } from '../options';
import type { TensorLike } from '../tensor';
import type { ReadOptions } from './arguments';
import type { SafetensorsFile } from './safetensors';
import { layerFromStateDict, readLayer, stateOptionNames, type LayerParameters, type StateDictOptions } from './state-dict';

/** Options of {@link moduleFromStateDict}: where the layer's parameters are, and what they do not tell. */
export interface StateModuleOptions extends StateDictOptions, ConvTransposeOptions {}

/** Options of {@link readModule}. */
export interface ReadModuleOptions extends StateModuleOptions, ReadOptions {}

const moduleNames = [...geometryOptionNames, ...runOptionNames] as const;
const readNames = [...stateOptionNames, 'convert'] as const;

/** Those of the options that have these names. */
function pick<Name extends string>(raw: RawOptions<Name>, names: readonly Name[]): RawOptions<Name> {
  return Object.fromEntries(names.filter((name) => raw[name] !== undefined).map((name) => [name, raw[name]])) as RawOptions<Name>;
}

const classes = [ConvTranspose1d, ConvTranspose2d, ConvTranspose3d] as const;

/** A module of the weights' rank and channels; `groups` is one of its options. */
function makeModule({ weight, bias }: LayerParameters, raw: RawOptions<(typeof moduleNames)[number]>): ConvTransposeModule {
  const [inChannels = 0, outPerGroup = 0, ...kernel] = weight.shape;
  const groups = typeof raw.groups === 'number' ? raw.groups : 1;
  const Module = classes[kernel.length - 1] as typeof ConvTranspose2d;
  return new Module(inChannels, outPerGroup * groups, kernel, { ...(raw as ConvTransposeOptions), weight, bias });
}

/**
 * A module with the parameters of one layer of a PyTorch state dictionary, as {@link layerFromStateDict} gives them. A state dictionary
 * holds neither stride and padding nor the activation: these are options.
 *
 * ```js
 * import { Sequential, Tensor } from 'convtranspose';
 * import { moduleFromStateDict } from 'convtranspose/io';
 * const ones = (...shape) => { const t = Tensor.zeros(shape); t.data.fill(1); return t; };
 * const state = {
 *   'main.0.weight': ones(8, 4, 4, 4), 'main.1.running_mean': ones(4), 'main.1.running_var': ones(4), 'main.3.weight': ones(4, 3, 4, 4),
 * };
 * const generator = new Sequential([
 *   moduleFromStateDict(state, 'main.0', { batchNorm: 'main.1', activation: 'relu' }),
 *   moduleFromStateDict(state, 'main.3', { stride: 2, padding: 1, activation: 'tanh' }),
 * ]);
 * console.log(generator.outputShape([1, 8, 1, 1])); // [ 1, 3, 8, 8 ]
 * ```
 *
 * @param state tensors by PyTorch's names, float32; others are not looked at
 * @param prefix of the layer, without the last dot
 * @throws as {@link layerFromStateDict} and the constructors of the modules
 */
export function moduleFromStateDict(
  state: Readonly<Record<string, TensorLike>>, prefix: string, options?: StateModuleOptions,
): ConvTransposeModule {
  const raw = readOptions(options, 'options', [...moduleNames, ...stateOptionNames]);
  return makeModule(layerFromStateDict(state, prefix, pick(raw, stateOptionNames) as StateDictOptions), pick(raw, moduleNames));
}

/**
 * {@link moduleFromStateDict} of a .safetensors file; only the layer's tensors are read.
 *
 * @param file path or URL of the file, or an open one
 */
export async function readModule(
  file: string | URL | SafetensorsFile, prefix: string, options?: ReadModuleOptions,
): Promise<ConvTransposeModule> {
  const raw = readOptions(options, 'options', [...moduleNames, ...readNames]);
  return makeModule(await readLayer(file, prefix, pick(raw, readNames) as ReadModuleOptions), pick(raw, moduleNames));
}
