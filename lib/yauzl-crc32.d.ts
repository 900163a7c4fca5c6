/** The file of yauzl that has no declarations. */
declare module 'yauzl/crc32' {
  /** The CRC-32 of zip archives, as an unsigned integer. */
  function crc32(bytes: Uint8Array): number;
  export = crc32;
}
