'use strict';
// jest's TypeScript transformer: esbuild strips the types of one file at a time (types are checked by `npm run lint`).
const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const esbuild = require('esbuild');

const options = { loader: 'ts', format: 'cjs', target: 'node18', sourcemap: 'both', sourcesContent: false };
const ownSource = readFileSync(__filename);

module.exports = {
  getCacheKey(source, file) {
    return createHash('sha256').update(ownSource).update(esbuild.version).update(file).update('\0').update(source).digest('hex');
  },
  process(source, file) {
    const { code, map } = esbuild.transformSync(source, { ...options, sourcefile: file });
    return { code, map };
  },
};
