// @ts-check
/** Peak memory of one call, measured in a process of its own. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** glibc gives large blocks back at once, so that none is left over for the layer and hides what it takes. */
const ALLOCATOR = { MALLOC_MMAP_THRESHOLD_: '131072', MALLOC_TRIM_THRESHOLD_: '131072' };

const child = fileURLToPath(new URL('memory-child.mjs', import.meta.url));

/** The kernel's own high-water mark is needed. */
export const canMeasureMemory = existsSync('/proc/self/clear_refs');

/**
 * Bytes by which a process grows from before the layer is made until after its first call, beyond input, weights and output:
 * packed weights, workspace, column buffers. Noise of about a megabyte.
 * @param {'convtranspose' | 'onnxruntime'} side
 * @param {import('./problem.mjs').Problem} problem
 * @param {object} options of the side
 * @returns {number}
 */
export function measureMemory(side, problem, options) {
  const output = execFileSync(process.execPath, ['--expose-gc', child, JSON.stringify({ side, problem, options })], {
    encoding: 'utf8',
    env: { ...process.env, ...ALLOCATOR },
  });
  return JSON.parse(output).extraBytes;
}
