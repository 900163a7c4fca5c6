/**
 * PyTorch's default initialisation, bit for bit: torch.manual_seed(seed) followed by nn.ConvTransposeNd on the CPU.
 *
 * The generator is the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998); the distribution is nn.init.kaiming_uniform_ with
 * a = sqrt(5) for the weight, and uniform in +-1/sqrt(fan_in) for the bias. fan_in is what PyTorch computes for these layers:
 * weight.size(1) times the kernel's elements.
 */

const stateLength = 624;
const shiftLength = 397;

/** The generator behind torch.manual_seed on the CPU. */
export class MersenneTwister {
  readonly #state = new Uint32Array(stateLength);
  #next = stateLength;

  /** @param seed unsigned 32-bit */
  constructor(seed: number) {
    const state = this.#state;
    state[0] = seed;
    for (let i = 1; i < stateLength; i++) {
      const previous = state[i - 1]!;
      state[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i;
    }
  }

  /** The next 32 random bits, unsigned. */
  next(): number {
    if (this.#next === stateLength) this.#refill();
    let bits = this.#state[this.#next++]!;
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  }

  #refill(): void {
    const state = this.#state;
    for (let i = 0; i < stateLength; i++) {
      const mixed = (state[i]! & 0x80000000) | (state[(i + 1) % stateLength]! & 0x7fffffff);
      state[i] = state[(i + shiftLength) % stateLength]! ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

/**
 * Fills with values of [-bound, bound), each from 24 random bits. As in ATen's uniform_, the bounds and their difference are float32,
 * the rest is computed in double precision and rounded once, by the store.
 */
function fillUniform(values: Float32Array, bound: number, generator: MersenneTwister): void {
  const from = Math.fround(-bound);
  const range = Math.fround(Math.fround(bound) - from);
  for (let i = 0; i < values.length; i++) {
    const unit = (generator.next() & 0xffffff) * 2 ** -24;
    values[i] = unit * range + from;
  }
}

/**
 * Draws the weight, then the bias, from a generator seeded with `seed`.
 *
 * @param fanIn out/groups times the kernel's elements; 0 leaves the bias as it is, as there is nothing to draw for the weight
 * @param bias null if the layer has none
 */
export function initialize(weight: Float32Array, bias: Float32Array | null, fanIn: number, seed: number): void {
  const generator = new MersenneTwister(seed);
  // The order of these operations is that of nn.init, since each of them rounds.
  const slope = Math.sqrt(5);
  const gain = Math.sqrt(2 / (1 + slope * slope));
  fillUniform(weight, Math.sqrt(3) * (gain / Math.sqrt(fanIn)), generator);
  if (bias !== null && fanIn > 0) fillUniform(bias, 1 / Math.sqrt(fanIn), generator);
}
