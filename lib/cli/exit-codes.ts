/** How a command ended. */
export const exitCodes = { success: 0, failure: 1, usage: 2, someFailed: 3, interrupted: 130, terminated: 143 } as const;
