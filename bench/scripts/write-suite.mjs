// @ts-check
/** Writes suite/layers.txt, the suite as the native benches read it, from suite/layers.json. */
import { writeFileSync } from 'node:fs';
import { readSuite, SUITE_FILE } from '../src/problem.mjs';
import { suiteText } from '../src/suite-text.mjs';

writeFileSync(new URL('../suite/layers.txt', import.meta.url), suiteText(readSuite(SUITE_FILE)));
