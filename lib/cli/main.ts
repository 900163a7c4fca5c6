#!/usr/bin/env node
/** The program `convtranspose`. */
import { runProgram } from './program';

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

void runProgram(process.argv.slice(2), process).then((code) => {
  process.exitCode = code;
});
