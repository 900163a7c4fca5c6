/** Errors in the words of a reference: what the package calls `input` may be its `X`. */
import type { ConvTransposeError } from '../errors';

/** The reference's name of each argument of this package. */
export type Names = Readonly<Record<string, string>>;

/**
 * The error with the reference's name of the argument. Anything that is no error of this package is returned unchanged, and so is an
 * option that does not exist: its name is the caller's.
 */
function renamed(error: unknown, names: Names): unknown {
  if (!(error instanceof Error)) return error;
  const { code, argument } = error as Partial<ConvTransposeError>;
  const isOurs = typeof code === 'string' && code.startsWith('ERR_CONVTRANSPOSE_') && typeof argument === 'string';
  const name = isOurs && code !== 'ERR_CONVTRANSPOSE_UNKNOWN_OPTION' ? names[argument] : undefined;
  if (name === undefined) return error;
  const prefix = `${argument}: `;
  if (error.message.startsWith(prefix)) error.message = `${name}: ${error.message.slice(prefix.length)}`;
  return Object.assign(error, { argument: name });
}

/** Runs `work`; its errors have the reference's names. */
export function withNames<T>(names: Names, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw renamed(error, names);
  }
}

/** Waits for `work`; its errors have the reference's names. */
export async function withNamesAsync<T>(names: Names, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw renamed(error, names);
  }
}
