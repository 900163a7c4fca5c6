/** Layers of other references: weights converted and packed once, sizes by the rule of the reference. */
import { makeDisposable } from '../disposable';
import { ConvTransposeModule, type Explanation, type ForwardAsyncOptions, type ForwardOptions, type ModuleOptions, type PrepareAsyncOptions, type ShapeOptions, type StateDict } from '../modules';
import { readShape } from '../options';
import type { OutputRule } from '../shape';
import { readTensor, type Tensor, type TensorLike } from '../tensor';
import { checkRank } from './arguments';
import { withNames, withNamesAsync, type Names } from './names';

/** What a reference's arguments come to. */
export interface LayerDescription {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: readonly number[];
  /** The remaining options of the module; `weight` in PyTorch's layout. */
  readonly options: ModuleOptions;
  readonly outputRule: OutputRule;
  /** The reference's names of this package's arguments. */
  readonly names: Names;
  /** What the dimensions of the input mean, for messages. */
  readonly inputPattern: string;
}

/** A module whose output sizes follow the rule of a reference. */
class RuledModule extends ConvTransposeModule {
  constructor({ inChannels, outChannels, kernel, options, outputRule }: LayerDescription) {
    super(kernel.length, inChannels, outChannels, kernel, options, outputRule);
  }
}

/**
 * What the layers of all references have in common. Methods are those of {@link ConvTransposeModule}; inputs have a batch dimension
 * and the layout of the reference, and `outputSize` follows its rule.
 */
export abstract class PreparedLayer {
  /** `dispose`, for `using`. Absent where the runtime has no Symbol.dispose. */
  declare readonly [Symbol.dispose]: () => void;

  readonly #module: RuledModule;
  readonly #names: Names;
  readonly #pattern: string;
  readonly #rank: number;

  protected constructor(description: LayerDescription) {
    this.#names = description.names;
    this.#pattern = description.inputPattern;
    this.#rank = description.kernel.length + 2;
    this.#module = withNames(this.#names, () => new RuledModule(description));
  }

  /** The input, read once, with the rank that the reference asks for. */
  #readInput(input: unknown): TensorLike {
    const view = readTensor(input, 'input');
    checkRank(view.shape, 'input', [this.#rank], this.#pattern);
    return view;
  }

  #readInputShape(value: unknown): number[] {
    const shape = readShape(value, 'inputShape');
    checkRank(shape, 'inputShape', [this.#rank], this.#pattern);
    return shape;
  }

  /** Computes the layer, synchronously; see {@link ConvTransposeModule.forward}. */
  forward(input: TensorLike, options?: ForwardOptions): Tensor {
    return withNames(this.#names, () => this.#module.forward(this.#readInput(input), options));
  }

  /** {@link forward} on the package's own threads; see {@link ConvTransposeModule.forwardAsync}. */
  forwardAsync(input: TensorLike, options?: ForwardAsyncOptions): Promise<Tensor> {
    return withNamesAsync(this.#names, async () => await this.#module.forwardAsync(this.#readInput(input), options));
  }

  /** Packs the weights and plans for inputs of a shape. */
  prepare(inputShape: readonly number[], options?: ShapeOptions): void {
    withNames(this.#names, () => {
      this.#module.prepare(this.#readInputShape(inputShape), options);
    });
  }

  /** {@link prepare} on the package's own threads. */
  prepareAsync(inputShape: readonly number[], options?: PrepareAsyncOptions): Promise<void> {
    return withNamesAsync(this.#names, async () => {
      await this.#module.prepareAsync(this.#readInputShape(inputShape), options);
    });
  }

  /** The shape that `forward` gives for an input of shape `inputShape`; nothing is computed. */
  outputShape(inputShape: readonly number[], options?: ShapeOptions): number[] {
    return withNames(this.#names, () => this.#module.outputShape(this.#readInputShape(inputShape), options));
  }

  /** What `forward` runs for an input of shape `inputShape`, and why. */
  explain(inputShape: readonly number[], options?: ShapeOptions): Explanation {
    return withNames(this.#names, () => this.#module.explain(this.#readInputShape(inputShape), options));
  }

  /** Copies of the weights in PyTorch's layout: `weight` [in, out/groups, ...kernel], and `bias` [out] if there is one. */
  stateDict(): StateDict {
    return this.#module.stateDict();
  }

  /** Frees the weights now; later calls throw `ERR_CONVTRANSPOSE_DISPOSED`. */
  dispose(): void {
    this.#module.dispose();
  }
}

makeDisposable(PreparedLayer.prototype);
