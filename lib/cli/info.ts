/** `convtranspose info`: versions, processor, threads. */
import { cpuInfo, getNumThreads, version } from '../index';
import { binaryPath } from '../native';
import { formatBytes } from '../text';
import type { CommandSpec } from './command-line';
import { printRows, type Streams } from './report';

export const infoCommand: CommandSpec = {
  name: 'info',
  usage: '',
  summary: 'Prints versions, the binary, the processor as this package sees it, and threads.',
  description: ['Prints versions, the binary that is loaded, the processor as this package sees it, and the threads that calls use.'],
  options: [],
  examples: ['convtranspose info', 'CONVTRANSPOSE_ISA=avx2 convtranspose info'],
};

export function info(streams: Streams): void {
  const cpu = cpuInfo();
  const { l1d, l2, l3, line } = cpu.caches;
  const limits = `${cpu.processors} processors${cpu.quota > 0 ? `, quota ${cpu.quota}` : ''}`;
  printRows(streams, [
    ['version', version()],
    ['binary', binaryPath()],
    ['node', `${process.version} (${process.platform}-${process.arch})`],
    ['processor', `${cpu.model.trim() || cpu.vendor} (${cpu.arch})`],
    ['instruction set', `${cpu.isa}, of ${cpu.supported.join(', ')}`],
    ['features', cpu.features.join(' ') || 'none'],
    ['caches', `L1d ${formatBytes(l1d)}, L2 ${formatBytes(l2)}, L3 ${formatBytes(l3)}, lines of ${line} bytes`],
    ['threads', `${getNumThreads()} (${limits})`],
  ]);
}
