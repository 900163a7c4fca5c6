import { describe, expect, test } from '@jest/globals';

import { runChild } from '../support/child';

/** Runs one scene of lifecycle.child.ts to its end. */
function play(scene: string): ReturnType<typeof runChild> {
  return runChild('lifecycle/lifecycle.child', {}, [scene], ['--expose-gc']);
}

async function expectFine(scene: string): Promise<void> {
  const { status, signal, stdout, stderr } = await play(scene);
  expect({ status, signal, stdout, stderr }).toEqual({ status: 0, signal: null, stdout: 'fine\n', stderr: '' });
}

async function expectExit(scene: string, wanted: number): Promise<string> {
  const { status, signal, stderr } = await play(scene);
  expect({ status, signal }).toEqual({ status: wanted, signal: null });
  return stderr;
}

describe('process.exit', () => {
  test.each(['exit-at-once', 'exit-while-running', 'exit-in-callback', 'exit-in-callback-itself', 'exit-with-workers-at-work'])(
    '%s: the process ends with its status', async (scene) => {
      expect(await expectExit(scene, 0)).toBe('');
    }, 60_000);

  test('an uncaught exception while calls are in flight ends the process as usual', async () => {
    expect(await expectExit('uncaught-with-work-in-flight', 1)).toContain('Error: on purpose');
  }, 60_000);
});

describe('the event loop', () => {
  test.each([
    ['stays alive for calls in flight, and no longer', 'stays-alive'],
    ['gets what a callback throws, and goes on', 'callback-throws'],
    ['shows each callback the asynchronous context of its call', 'async-local-storage'],
    ['has a turn for every mebibyte that is copied', 'copies-yield'],
    ['may detach an array while it is copied', 'detached-while-copied'],
    ['may abort a call while it is copied', 'aborted-while-copied'],
    ['may write shared memory while a call reads it', 'written-while-read'],
    ['may write infinities into shared memory while a call reads it', 'infinities-while-read'],
    ['may transfer or resize memory at any turn of a call', 'transferred-and-resized'],
    ['may start child processes with calls in flight', 'fork-after-load'],
  ])('%s', async (_, scene) => {
    await expectFine(scene);
  }, 60_000);
});

describe('memory', () => {
  test.each([
    ['is kept by calls in flight, whatever is collected', 'gc-with-calls-in-flight'],
    ['comes back when it is collected', 'gc-returns-all'],
    ['of layers comes back without dispose()', 'layers-without-dispose'],
    ['is bounded where no finalizer can run', 'outputs-in-one-turn'],
    ['stays as it is through ten thousand layers', 'ten-thousand-layers'],
    ['of modules is kept by calls in flight', 'modules-collected'],
  ])('%s', async (_, scene) => {
    await expectFine(scene);
  }, 120_000);
});

describe('worker threads', () => {
  test.each([
    ['end at every stage of the addon’s life', 'exit-stages-in-workers'],
    ['may be terminated in the middle of every kind of call', 'terminate'],
    ['may be terminated side by side', 'terminate-several-at-once'],
    ['may be the only ones that load the addon', 'only-workers-load'],
    ['may be many', 'sixty-four-workers'],
    ['may give their results away and end', 'results-outlive-their-worker'],
  ])('%s', async (_, scene) => {
    await expectFine(scene);
  }, 240_000);
});
