// Puts the headers of Node-API and of node-addon-api into headers/, which is published: so scripts/install.js can compile where
// there is no prebuilt binary, without a package and without a network. THIRD-PARTY.md holds their licences.
import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const target = path.join(root, 'headers');

rmSync(target, { recursive: true, force: true });
mkdirSync(target);
for (const folder of [require('node-api-headers').include_dir, path.resolve(root, require('node-addon-api').include_dir)]) {
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.h'))) copyFileSync(path.join(folder, file), path.join(target, file));
}
