declare module 'node-gyp-build' {
  /** Finds the binary of the package in `directory` (build/Release, then prebuilds) and requires it. */
  const load: {
    (directory: string): unknown;
    /** The file that would be required. */
    path(directory: string): string;
  };
  export default load;
}
