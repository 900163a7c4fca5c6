/** What a wrong call did. Plain data, so that it can come from another process. */
export interface Outcome {
  /** 'TypeError' and so on; null if nothing was thrown. */
  name: string | null;
  code: unknown;
  argument: unknown;
  message: string;
}

export function outcomeOf(error: unknown): Outcome {
  if (!(error instanceof Error)) return { name: typeof error, code: undefined, argument: undefined, message: String(error) };
  const { code, argument } = error as { code?: unknown; argument?: unknown };
  // Not error.name: a class of this realm has to have made it.
  const name = error instanceof TypeError ? 'TypeError' : error instanceof RangeError ? 'RangeError' : error.constructor.name;
  return { name, code, argument, message: error.message };
}

/** Runs a call, awaits it if it gives a promise, and reports what it threw. */
export async function attempt(call: () => unknown): Promise<Outcome> {
  try {
    await call();
  } catch (error) {
    return outcomeOf(error);
  }
  return { name: null, code: undefined, argument: undefined, message: 'nothing was thrown' };
}
