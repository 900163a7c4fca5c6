/** Ctrl-C and the end that a scheduler announces: the first lets work in hand come to an end, the second ends the process. */

export interface Interrupts {
  readonly signal: AbortSignal;
  /** The signal that came; null if none has. */
  received(): NodeJS.Signals | null;
  /** Gives the signals back to Node. */
  release(): void;
}

export function catchInterrupts(): Interrupts {
  const controller = new AbortController();
  let received: NodeJS.Signals | null = null;
  const listener = (name: NodeJS.Signals): void => {
    received = name;
    controller.abort();
    release();
  };
  const release = (): void => {
    process.off('SIGINT', listener);
    process.off('SIGTERM', listener);
  };
  process.on('SIGINT', listener);
  process.on('SIGTERM', listener);
  return { signal: controller.signal, received: () => received, release };
}
