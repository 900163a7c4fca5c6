import { runDeterminism, runInvariance } from './run-determinism';

void (async () => {
  console.log(JSON.stringify([await runDeterminism(), await runInvariance()]));
})();
