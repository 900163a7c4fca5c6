// The prebuilt binaries: one row each. `zig` is the target that zig compiles for where the system's own compiler is not at hand.
// `madeHere`: by `npm run prebuild` on any machine with that operating system, whatever its processor. win32-arm64 is not among them:
// compiled there, the package is untested.
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** The oldest glibc that binaries for Linux run with: that of Debian 10, Red Hat Enterprise Linux 8, Ubuntu 18.10. */
const glibc = '2.28';

export const prebuilds = [
  { platform: 'linux', arch: 'x64', libc: 'glibc', zig: `x86_64-linux-gnu.${glibc}`, glibc, madeHere: true },
  { platform: 'linux', arch: 'x64', libc: 'musl', zig: 'x86_64-linux-musl', madeHere: true },
  { platform: 'linux', arch: 'arm64', libc: 'glibc', zig: `aarch64-linux-gnu.${glibc}`, glibc, madeHere: true },
  { platform: 'linux', arch: 'arm64', libc: 'musl', zig: 'aarch64-linux-musl', madeHere: true },
  { platform: 'darwin', arch: 'arm64', zig: 'aarch64-macos.11.0', cmake: { CMAKE_OSX_DEPLOYMENT_TARGET: '11.0' }, madeHere: true },
  { platform: 'darwin', arch: 'x64', zig: 'x86_64-macos.11.0', cmake: { CMAKE_OSX_DEPLOYMENT_TARGET: '11.0' }, madeHere: true },
  { platform: 'win32', arch: 'x64', zig: 'x86_64-windows-gnu', madeHere: true },
].map((row) => {
  const tuple = `${row.platform}-${row.arch}`;
  const file = `convtranspose${row.libc === undefined ? '' : `.${row.libc}`}.node`;
  return { name: row.libc === undefined ? tuple : `${tuple}-${row.libc}`, file: path.join('prebuilds', tuple, file), ...row };
});
