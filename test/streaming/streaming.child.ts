import { runStreaming } from './run-streaming';

void (async () => {
  console.log(JSON.stringify(await runStreaming(Number(process.argv[2]))));
})();
