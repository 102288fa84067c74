// Wheels only (EDGEDST_PORTABLE), included before everything else: a wheel compiled on a newer
// Debian runs on Debian 11 (glibc 2.31, libstdc++ of GCC 10) too.
//
// The linker binds the newest version of a function that it finds. glibc 2.34 gave these functions
// a new version because they moved to another library, libstdc++ 3.4.30 because `wait` became
// noexcept: the code behind both versions is the same, and both stay. tools/build_wheels.py holds
// what a wheel binds against its tag.
#pragma once

#if defined(__x86_64__)
#define EDGEDST_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define EDGEDST_FIRST_GLIBC "GLIBC_2.17"
#else
#error "EDGEDST_PORTABLE knows the first glibc of x86-64 and of AArch64 only: build without it."
#endif

// Where a file does not call the function, the assembler drops the line.
#define EDGEDST_BIND(function, version) __asm__(".symver " function ", " function "@" version)
EDGEDST_BIND("dlerror", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("dlopen", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("dlsym", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("pthread_attr_setstacksize", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("pthread_create", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("pthread_join", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("pthread_sigmask", EDGEDST_FIRST_GLIBC);
EDGEDST_BIND("_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE", "GLIBCXX_3.4.11");
#undef EDGEDST_BIND
#undef EDGEDST_FIRST_GLIBC
