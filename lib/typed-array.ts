/**
 * Typed arrays by their internal slots. Unlike instanceof this works across realms, and no property of the value, no subclass and
 * no proxy can lie about it; none of these functions runs code of the user.
 */

const typedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype) as object;

function intrinsicGetter<T>(name: string | symbol): (value: unknown) => T {
  const property = Object.getOwnPropertyDescriptor(typedArrayPrototype, name) as { get?: (this: void) => unknown } | undefined;
  const getter = property?.get;
  if (getter === undefined) throw new Error(`this runtime has no %TypedArray%.prototype.${String(name)}`);
  return (value) => Reflect.apply(getter, value, []) as T;
}

/** 'Float32Array' and so on; undefined for everything that is no typed array. */
export const typedArrayKind = intrinsicGetter<string | undefined>(Symbol.toStringTag);

/** Elements now: 0 if the memory is detached or no longer long enough. Throws unless the value is a typed array, as the next two do. */
export const typedArrayLength = intrinsicGetter<number>('length');
/** Bytes from the start of the buffer. */
export const typedArrayOffset = intrinsicGetter<number>('byteOffset');
export const typedArrayBuffer = intrinsicGetter<ArrayBufferLike>('buffer');

/** True if the two views have a byte in common. Two SharedArrayBuffer objects over one block of memory count as different here. */
export function overlaps(a: Float32Array, b: Float32Array): boolean {
  if (typedArrayBuffer(a) !== typedArrayBuffer(b)) return false;
  const beginA = typedArrayOffset(a);
  const beginB = typedArrayOffset(b);
  const bytesA = typedArrayLength(a) * 4;
  const bytesB = typedArrayLength(b) * 4;
  return bytesA > 0 && bytesB > 0 && beginA < beginB + bytesB && beginB < beginA + bytesA;
}

/** True if the memory of a view was transferred away. */
export function isDetached(view: Float32Array): boolean {
  try {
    return new Uint8Array(typedArrayBuffer(view)).length < 0;
  } catch {
    return true;
  }
}
