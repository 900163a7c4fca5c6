// `npm run lint`: types, ESLint and clang-format, all of them even when one fails; `npm run lint -- --fix` repairs what can
// be. clang-format is left out, with a note, on a machine that has none.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const fix = process.argv.includes('--fix');
let failures = 0;

function check(name, command, args) {
  console.log(`lint: ${name}`);
  if (spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status !== 0) failures += 1;
}

const bin = (name) => path.join(root, 'node_modules', '.bin', name);
const sources = ['native', 'bench/native'].flatMap((dir) =>
  readdirSync(path.join(root, dir), { recursive: true })
    .filter((file) => /\.(cc|h)$/.test(file))
    .map((file) => path.join(dir, file)),
);

check('types', bin('tsc'), ['-p', 'tsconfig.test.json']);
check('ESLint', bin('eslint'), ['.', '--max-warnings', '0', ...(fix ? ['--fix'] : [])]);
if (spawnSync('clang-format', ['--version'], { stdio: 'ignore' }).status === 0) {
  check('clang-format', 'clang-format', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...sources]);
} else {
  console.log('lint: clang-format is not installed, so the C++ layout was not checked (Debian: apt-get install clang-format)');
}
process.exitCode = failures > 0 ? 1 : 0;
