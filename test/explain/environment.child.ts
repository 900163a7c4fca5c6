/** What one small call does under the environment variables of this process: its algorithm, or its error. */
import { ConvTranspose2d } from '../../lib/index';
import { outcomeOf } from '../support/expect-error';

try {
  const layer = new ConvTranspose2d(2, 2, 3, { seed: 1 });
  layer.forward({ data: new Float32Array(2 * 9), shape: [1, 2, 3, 3] });
  const { algorithm, isa } = layer.explain([1, 2, 3, 3]);
  console.log(JSON.stringify({ loaded: true, algorithm, isa }));
} catch (error) {
  console.log(JSON.stringify({ loaded: true, ...outcomeOf(error) }));
}
