import { runExplain } from './run-explain';

console.log(JSON.stringify(runExplain()));
