declare module 'node-gyp-build' {
  /** Finds the binary of the package in `directory` (build/Release, then prebuilds) and requires it. */
  export default function load(directory: string): unknown;
}
