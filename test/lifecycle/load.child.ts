/** Prints what loading the addon throws. */
import { loadNative, type NativeFailure } from '../../lib/native';

try {
  loadNative();
  console.log('null');
} catch (error) {
  const { code, argument, message } = error as NativeFailure;
  console.log(JSON.stringify({ code, argument, message }));
}
