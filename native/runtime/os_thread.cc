#include "runtime/os_thread.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <process.h>
#include <windows.h>
#else
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#endif

namespace convtranspose {
namespace {

// Kernels keep little on the stack; the C library's own default ranges from 128 KiB to 8 MiB.
constexpr std::size_t kStackBytes = std::size_t{1} << 20;

struct Start {
  void (*entry)(void*);
  void* argument;
  int number;
};

void name_this_thread([[maybe_unused]] int number) {
#if defined(__linux__) || defined(__APPLE__)
  char name[32];
  // Linux takes 15 characters.
  std::snprintf(name, sizeof name, number < 10 ? "convtranspose-%d" : "convtransp-%d", number);
#if defined(__APPLE__)
  pthread_setname_np(name);
#else
  pthread_setname_np(pthread_self(), name);
#endif
#endif
}

void begin(Start* from_heap) {
  const Start start = *from_heap;
  delete from_heap;
  name_this_thread(start.number);
  start.entry(start.argument);
}

}  // namespace

#if defined(_WIN32)

bool start_thread(void (*entry)(void*), void* argument, int number) {
  Start* start = new (std::nothrow) Start{entry, argument, number};
  if (start == nullptr) return false;
  const auto trampoline = [](void* raw) -> unsigned {
    begin(static_cast<Start*>(raw));
    return 0;
  };
  unsigned(__stdcall * function)(void*) = trampoline;
  const std::uintptr_t handle = _beginthreadex(nullptr, kStackBytes, function, start, 0, nullptr);
  if (handle == 0) {
    delete start;
    return false;
  }
  CloseHandle(reinterpret_cast<HANDLE>(handle));
  return true;
}

void pin_library() {
  static const bool pinned = [] {
    HMODULE module;
    return GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                              reinterpret_cast<LPCSTR>(&pin_library), &module) != 0;
  }();
  (void)pinned;
}

void at_fork(void (*)(), void (*)(), void (*)()) {}

#else

bool start_thread(void (*entry)(void*), void* argument, int number) {
  Start* start = new (std::nothrow) Start{entry, argument, number};
  if (start == nullptr) return false;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) {
    delete start;
    return false;
  }
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);

  // A new thread inherits the mask. Faults stay unblocked: blocked, they kill without their handler.
  sigset_t blocked, old;
  sigfillset(&blocked);
  constexpr int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
  for (const int fault : kFaults) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &old);
  pthread_t thread;
  const auto trampoline = [](void* raw) -> void* {
    begin(static_cast<Start*>(raw));
    return nullptr;
  };
  const int error = pthread_create(&thread, &attributes, trampoline, start);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) delete start;
  return error == 0;
}

void pin_library() {
  static const bool pinned = [] {
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(&pin_library), &info) == 0 || info.dli_fname == nullptr) return false;
    // Fails, harmlessly, where this code is part of the program itself. The handle is kept on purpose.
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) != nullptr;
  }();
  (void)pinned;
}

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) { pthread_atfork(before, in_parent, in_child); }

#endif

}  // namespace convtranspose
