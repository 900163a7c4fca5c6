/** Instruction sets for tests that take long: all whose kernels differ. `amx` has its own beside those of `avx512`. */
import { cpuInfo } from '../../lib/index';

const { supported } = cpuInfo();

export const distinctIsas: readonly string[] = supported.filter((isa) => isa !== 'avx512' || !supported.includes('amx'));
