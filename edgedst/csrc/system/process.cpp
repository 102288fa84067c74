#include "system/process.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace edgedst {
namespace {

constexpr int kOverBudget = 3;  // BudgetBroken's exit code

struct Mapping {
  uintptr_t start = 0, end = 0;
  bool of_file = false;  // private and read-only, of a file that has a name
  size_t resident = 0;
  size_t changed_kb = 0;  // of pages that are not the file's any more
};

// Private pages that were written to (relocations) are not the file's any more: a mapping with one
// is left alone. A mapping of which nothing is resident is, too; an emulator that does not count
// tells 0 of every one.
size_t release(const Mapping& mapping, size_t changed_kb) {
  if (!mapping.of_file || mapping.resident == 0 || changed_kb != 0) return 0;
  void* start = reinterpret_cast<void*>(mapping.start);
  return madvise(start, mapping.end - mapping.start, MADV_DONTNEED) == 0 ? mapping.resident : 0;
}

// One line of /proc/self/smaps; `mapping` is the one whose lines these are.
size_t read_line(const char* line, Mapping& mapping) {
  unsigned long start = 0, end = 0, kb = 0;
  char rights[5] = "", path[2] = "";
  if (std::sscanf(line, "%lx-%lx %4s %*s %*s %*s %1s", &start, &end, rights, path) >= 3)
    mapping = {start, end, rights[1] != 'w' && rights[3] == 'p' && path[0] == '/', 0, 0};
  else if (std::sscanf(line, "Rss: %lu kB", &kb) == 1)
    mapping.resident = kb * 1024;
  else if (std::sscanf(line, "Anonymous: %lu kB", &kb) == 1)
    mapping.changed_kb = kb;
  else if (std::sscanf(line, "Swap: %lu kB", &kb) ==
           1)  // stands behind it: changed pages that were swapped out
    return release(mapping, mapping.changed_kb + kb);
  return 0;
}

char last_words[2048];
pid_t speaker = 0;

void speak() {
  // A child that forked has the words, too.
  if (last_words[0] == '\0' || getpid() != speaker) return;
  if (write(STDERR_FILENO, last_words, std::strlen(last_words)) < 0) _exit(kOverBudget);
  _exit(kOverBudget);
}

}  // namespace

size_t release_file_pages() {
  const int file = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  size_t released = 0, used = 0;
  Mapping mapping;
  char text[4096];  // no heap: the process may be at its limit
  ssize_t count;
  while ((count = read(file, text + used, sizeof text - 1 - used)) > 0) {
    used += static_cast<size_t>(count);
    char* line = text;
    text[used] = '\0';
    while (char* end = std::strchr(line, '\n')) {
      *end = '\0';
      released += read_line(line, mapping);
      line = end + 1;
    }
    used -= static_cast<size_t>(line - text);
    if (used == sizeof text - 1) used = 0;  // a path that long is no library's
    std::memmove(text, line, used);
  }
  close(file);
  return released;
}

bool forbid_huge_pages() {
  if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1) return false;
  return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0;
}

bool lock_memory() {
#ifdef MCL_ONFAULT
  return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
#else
  return false;
#endif
}

int hold_name(const std::string& name) {
  const int held = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (held < 0) return kNoNames;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // Behind a first byte of 0 stands a name that is no file's.
  const size_t size = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  if (bind(held, reinterpret_cast<const sockaddr*>(&address), bytes) == 0) return held;
  const bool taken = errno == EADDRINUSE;
  close(held);
  return taken ? kNameTaken : kNoNames;
}

void set_last_words(const std::string& words) {
  if (speaker == 0) std::atexit(speak);
  speaker = getpid();
  std::snprintf(last_words, sizeof last_words, "%s", words.c_str());
}

}  // namespace edgedst
