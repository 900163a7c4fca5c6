'use strict';
// Lets plain node run TypeScript: `node --require test/support/register.cjs script.ts`. Types are not checked here.
const { readFileSync } = require('node:fs');
const esbuild = require('esbuild');

require.extensions['.ts'] = (module, file) => {
  const { code } = esbuild.transformSync(readFileSync(file, 'utf8'), { loader: 'ts', format: 'cjs', target: 'node18', sourcemap: 'inline', sourcefile: file });
  module._compile(code, file);
};
