import { runFixtures } from './run-fixtures';

void runFixtures().then((report) => {
  console.log(JSON.stringify(report));
});
