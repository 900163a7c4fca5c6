/**
 * Random problems in this process's instruction set, each through every algorithm in both memory formats, against the float64
 * definition; goes on until every (algorithm, dimension, memory format) has had enough of them.
 *
 *   node --require test/support/register.cjs test/property/random-cases.child.ts             all, prints a report as JSON
 *   node --require test/support/register.cjs test/property/random-cases.child.ts 2 1234      one case: dimensions, seed
 */
import { runRandomCase, runRandomCases } from './run-random-cases';

const [rank, seed] = process.argv.slice(2).map(Number);
if (rank !== undefined && seed !== undefined) {
  console.log(JSON.stringify(runRandomCase(rank, seed), null, 2));
} else {
  console.log(JSON.stringify(runRandomCases()));
}
