import { runWrongCalls } from './run-wrong-calls';

void runWrongCalls().then((report) => {
  console.log(JSON.stringify(report));
});
