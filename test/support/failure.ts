/** Errors that a test waits for. */

export interface CodedError extends Error {
  code: string;
  argument: string;
}

/** The error that `run` throws or rejects with. */
export async function failure(run: () => unknown): Promise<CodedError> {
  try {
    await run();
  } catch (error) {
    return error as CodedError;
  }
  throw new Error('expected an error');
}
