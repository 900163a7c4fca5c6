# Cross-compiles with zig, which brings the headers and start files of every libc: so a binary for Linux can be made to need no
# more than an old glibc, or musl, and binaries for macOS and Windows can be made where there are neither. scripts/prebuild.mjs sets CONVTRANSPOSE_ZIG (the program) and CONVTRANSPOSE_ZIG_TARGET
# (architecture-system-libc[.version]).
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CONVTRANSPOSE_ZIG CONVTRANSPOSE_ZIG_TARGET)
string(REGEX MATCH "^([^-]+)-([^-.]+)" _ "${CONVTRANSPOSE_ZIG_TARGET}")
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
set(system ${CMAKE_MATCH_2})
if(system STREQUAL "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_OSX_SYSROOT "" CACHE PATH "" FORCE)
  set(CMAKE_OSX_ARCHITECTURES "" CACHE STRING "" FORCE)
  set(CMAKE_INSTALL_NAME_TOOL true)
  set(CMAKE_CXX_FLAGS_INIT "-Wno-nullability-completeness") # of the C++ library's own headers
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "-undefined dynamic_lookup -Wl,-s")
elseif(system STREQUAL "windows")
  set(CMAKE_SYSTEM_NAME Windows)
  set(CMAKE_RC_COMPILER "${CONVTRANSPOSE_ZIG}") # CMake asks for one; there is nothing for it to compile
  set(CMAKE_CXX_FLAGS_INIT "-Wno-nullability-completeness") # of the C++ library's own headers
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "-s")
else()
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "-s")
endif()
set(CMAKE_CXX_COMPILER "${CONVTRANSPOSE_ZIG};c++;-target;${CONVTRANSPOSE_ZIG_TARGET}")
