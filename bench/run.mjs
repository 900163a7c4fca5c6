// @ts-check
/** `npm run bench`: installs the dependencies of the benches when they are missing, and runs them. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Are the versions of package.json installed? */
function isInstalled() {
  const { dependencies } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
  return Object.entries(dependencies).every(([name, version]) => {
    const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
    return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === version;
  });
}

if (!existsSync(new URL('../dist/index.mjs', import.meta.url))) {
  console.error('bench: the package is not built; run npm install in the folder above first');
  process.exit(1);
}
if (!isInstalled()) {
  console.error('bench: installing onnxruntime-node and the other dependencies of the benches (about 300 MB)');
  // The CPU backend is in the package; its install script would only fetch GPU libraries.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
  const { status } = spawnSync('npm', ['ci'], { cwd: here, env, stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
}
const { main } = await import('./src/main.mjs');
process.exitCode = await main().catch((error) => {
  console.error(`bench: ${error.message}`);
  return 1;
});
