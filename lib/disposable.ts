/** `using` for classes with `dispose`. */

/** Makes `Symbol.dispose` call `dispose`, where the runtime has that symbol: Node 18 before 18.18 has none. */
export function makeDisposable(type: { readonly prototype: { dispose(): void } }): void {
  if (typeof Symbol.dispose !== 'symbol') return;
  Object.defineProperty(type.prototype, Symbol.dispose, {
    value: function dispose(this: { dispose(): void }) {
      this.dispose();
    },
    writable: true,
    configurable: true,
  });
}
