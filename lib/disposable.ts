/** `using`, where the runtime has it. */

/** Gives a class with a method `dispose` the method `Symbol.dispose`. Node 18 before 18.18 has no such symbol. */
export function makeDisposable(prototype: { dispose(): void }): void {
  if (typeof Symbol.dispose !== 'symbol') return;
  Object.defineProperty(prototype, Symbol.dispose, {
    value: function dispose(this: { dispose(): void }) {
      this.dispose();
    },
    writable: true,
    configurable: true,
  });
}
