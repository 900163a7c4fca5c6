import { runNonFinite } from './run-non-finite';

void runNonFinite().then((report) => {
  console.log(JSON.stringify(report));
});
