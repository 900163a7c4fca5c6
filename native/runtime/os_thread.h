// What the standard library cannot say about threads: detached ones that may fail to start, fork, and staying loaded.
#pragma once

namespace convtranspose {

// Starts a detached thread named "convtranspose-<number>" that calls entry(argument), with asynchronous signals blocked, so
// that the process' handlers never run on it. False if the system refuses.
bool start_thread(void (*entry)(void*), void* argument, int number);

// Keeps this library mapped until the process ends, because its threads never do: an environment that loaded it (a Node
// worker) may unload it otherwise. Cheap after the first call.
void pin_library();

// As pthread_atfork; nothing where there is no fork.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// Tells the processor that this is a spin loop.
inline void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ volatile("yield");
#endif
}

}  // namespace convtranspose
