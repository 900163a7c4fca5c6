// @ts-check
/** PyTorch's side, in a helper process (torch_helper.py) that lives as long as the bench. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inputShape, outputShape, weightShape } from '../problem.mjs';

export const name = 'PyTorch';
/** conv_transpose itself, and the gradient of the convolution that it transposes: another code path, often the faster one. */
export const SIDES = /** @type {const} */ (['torch', 'torchGradient']);

const script = fileURLToPath(new URL('torch_helper.py', import.meta.url));

/** Debian's OpenBLAS takes processors that it does not know for very old ones; this names the nearest that it knows. */
const OPENBLAS_CORE = /** @type {Record<string, string>} */ ({ amx: 'SkylakeX', avx512: 'SkylakeX', avx2: 'Haswell' });

/** The Fortran reference, two orders slower than any library that is meant for use. */
const REFERENCE_BLAS = /^libblas\.so[.\d]*$/;

/**
 * The first of these programs that can import torch.
 * @param {readonly string[]} programs
 */
export const findPython = (programs) => programs.find((program) => spawnSync(program, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0);

export class Torch {
  /** @type {import('node:child_process').ChildProcessByStdio<import('node:stream').Writable, import('node:stream').Readable, null>} */
  #process;
  #lines;
  #directory = mkdtempSync(path.join(os.tmpdir(), 'convtranspose-bench-'));
  version = '';
  #hasBlas = true;

  /**
   * @param {string} python a program that can import torch
   * @param {{ threads: number, isa: string }} options
   */
  constructor(python, { threads, isa }) {
    const core = OPENBLAS_CORE[isa];
    // The library of matrix products has threads of its own, which torch.set_num_threads does not limit.
    const pools = Object.fromEntries(['OMP', 'OPENBLAS', 'MKL'].map((library) => [`${library}_NUM_THREADS`, String(threads)]));
    this.#process = spawn(python, ['-u', script, String(threads)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...(core && { OPENBLAS_CORETYPE: core }), ...process.env, ...pools },
    });
    this.#process.stdin.on('error', () => {}); // a helper that died is reported by the answer that does not come
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async start() {
    const { version, blas } = await this.#answer();
    this.version = `${version} ${blas}`.trim();
    this.#hasBlas = !REFERENCE_BLAS.test(blas);
  }

  /** conv_transpose is a matrix product before anything else: without a BLAS to compare with, the gradient stands alone. */
  get sides() {
    return this.#hasBlas ? SIDES : SIDES.filter((side) => side !== 'torch');
  }

  /** @returns {Promise<any>} */
  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the PyTorch helper process ended; its last words are above');
    return JSON.parse(value);
  }

  /** @param {object} command */
  async #ask(command) {
    this.#process.stdin.write(JSON.stringify(command) + '\n');
    return this.#answer();
  }

  /**
   * @param {import('../problem.mjs').Problem} problem
   * @param {import('../data.mjs').LayerData} data
   * @returns {Promise<Map<string, import('../measure.mjs').Runner>>} both sides; closing either frees the layer
   */
  async makeRunners(problem, data) {
    const files = Object.fromEntries(
      Object.entries(data).map(([tensor, values]) => {
        if (values === null) return [tensor, null];
        const file = path.join(this.#directory, tensor);
        writeFileSync(file, values);
        return [tensor, file];
      }),
    );
    const { stride, padding, outputPadding, dilation, groups } = problem;
    const shapes = { input: inputShape(problem), weight: weightShape(problem), output: outputShape(problem) };
    await this.#ask({ make: { shapes, files, settings: { stride, padding, outputPadding, dilation, groups } } });
    const result = path.join(this.#directory, 'output');
    return new Map(
      this.sides.map((side) => [
        side,
        {
          turn: async (milliseconds) => (await this.#ask({ turn: side, milliseconds })).times,
          output: async () => {
            await this.#ask({ output: side, file: result });
            const bytes = readFileSync(result);
            return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
          },
          close: async () => {
            await this.#ask({ free: true });
          },
        },
      ]),
    );
  }

  close() {
    this.#process.stdin.end();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
