/** The progress of a batch on a line of a terminal, with rate and time left; nothing elsewhere. */
import { MultiBar } from 'cli-progress';

import type { Streams } from './report';

export interface Progress {
  update(done: number, failed: number): void;
  /** Prints a line above the bar. */
  log(line: string): void;
  /** Wipes the bar. */
  stop(): void;
}

export function showProgress({ stderr }: Streams, total: number): Progress {
  if (stderr.isTTY !== true) {
    return { update: () => undefined, log: (line) => { stderr.write(`${line}\n`); }, stop: () => undefined };
  }
  const bars = new MultiBar({
    stream: stderr as NodeJS.WritableStream,
    format: ' {bar} {percentage}% | {value} of {total} files | {rate} files/s | {eta_formatted} left{failures}',
    barCompleteChar: '█', barIncompleteChar: '░', barsize: 24, clearOnComplete: true, linewrap: true, etaBuffer: 200,
    gracefulExit: false,
  });
  const started = Date.now();
  const payload = (done: number, failed: number) => ({
    rate: (done / Math.max(1e-3, (Date.now() - started) / 1e3)).toPrecision(3), failures: failed === 0 ? '' : ` | ${failed} failed`,
  });
  const bar = bars.create(total, 0, payload(0, 0));
  return {
    update: (done, failed) => { bar.update(done + failed, payload(done + failed, failed)); },
    log: (line) => { bars.log(`${line}\n`); },
    stop: () => {
      bars.update(); // lines that have not been printed yet
      bars.stop();
    },
  };
}
