/** Memory in the states that the typings of this TypeScript library version do not know. */

export interface ResizableBuffer extends ArrayBuffer {
  resize(bytes: number): void;
}

export function resizableBuffer(bytes: number, maxByteLength: number): ResizableBuffer {
  const Resizable = ArrayBuffer as unknown as new (bytes: number, options: { maxByteLength: number }) => ResizableBuffer;
  return new Resizable(bytes, { maxByteLength });
}

/** Transfers the memory of an array away: its length becomes 0. */
export function detach(data: Float32Array): void {
  structuredClone(data.buffer, { transfer: [data.buffer as ArrayBuffer] });
  if (data.length !== 0) throw new Error('still attached');
}

/** A copy in shared memory. */
export function shared(data: Float32Array): Float32Array {
  const copy = new Float32Array(new SharedArrayBuffer(data.byteLength));
  copy.set(data);
  return copy;
}
