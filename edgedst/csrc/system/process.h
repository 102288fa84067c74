// This process, as the kernel sees it.
#pragma once

#include <cstddef>
#include <string>

namespace edgedst {

// Take this process's unchanged pages of files out of its memory: code of libraries that ran once,
// at the start. They stay in the kernel's page cache, and what is needed again comes back from
// there by itself. Returns the bytes that were resident in those mappings; 0 where the kernel does
// not tell.
size_t release_file_pages();

// Have the kernel give this process, and all that come of it by fork and exec, no huge pages: a few
// bytes in one count as 2 MB. True where it could have had some before.
bool forbid_huge_pages();

// Keep what is resident, and what becomes it, from being swapped out. False where that is not
// allowed.
bool lock_memory();

constexpr int kNameTaken = -1, kNoNames = -2;

// Keep a name to this process and those that it forks from now on; at most 107 bytes of it count.
// It is no file: the kernel takes it back however they end. Returns the descriptor that holds it,
// kNameTaken where another process has it, or kNoNames where the system has no such names.
int hold_name(const std::string& name);

// What this process writes to standard error, and ends with exit code 3, when a library ends it by
// exit(): Python never hears of that. Empty: nothing.
void set_last_words(const std::string& words);

}  // namespace edgedst
