// What passes between two processes: order, refusals, the counters' wrap, and that no buffer ever
// has two owners.
#include "link/link.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "check.h"

using namespace edgedst;

namespace {

constexpr size_t kBytes = 1 << 20;

// Memory of a file that both sides map, as two processes do; `peek` is a third view of it.
struct Shared {
  Shared() {
    file = memfd_create("link_test", 0);
    expect(file >= 0 && ftruncate(file, kBytes) == 0, "memfd_create gives memory");
    one.reset(new Arena(kBytes, false, file));
    two.reset(new Arena(kBytes, false, file));
    peek =
        static_cast<uint8_t*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  }
  ~Shared() {
    munmap(peek, kBytes);
    close(file);
  }
  int file;
  std::unique_ptr<Arena> one, two;
  uint8_t* peek;
};

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}

bool put(Ring& ring, uint32_t value) { return ring.put(reinterpret_cast<const uint8_t*>(&value)); }

bool get(Ring& ring, uint32_t* value) { return ring.get(reinterpret_cast<uint8_t*>(value)); }

void check_cells() {
  Shared shared;
  Cells mine(*shared.one, "cells", 3), theirs(*shared.two, "cells", 3);
  for (int i = 0; i < 3; ++i)
    expect(theirs.get(i) == 0, "cell %d of new memory is %u", i, theirs.get(i));
  for (uint32_t value : {1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    mine.set(1, value);
    expect(theirs.get(1) == value, "the other side reads %u where %u was set", theirs.get(1),
           value);
  }
  expect(theirs.get(0) == 0 && theirs.get(2) == 0, "a cell's neighbours stay as they are");
  for (int index : {-1, 3}) {
    expect(refusal([&] { mine.get(index); }) == "Cells: no such cell", "get(%d) is refused", index);
    expect(refusal([&] { mine.set(index, 1); }) == "Cells: no such cell", "set(%d) is refused",
           index);
  }
  expect(refusal([&] { Cells(*shared.one, "none", 0); }) == "Cells: expected at least one",
         "no cells at all are refused");
}

void check_order_full_and_empty() {
  for (int records : {1, 2, 3, 4, 5, 64, 100}) {
    Shared shared;
    Ring writer(*shared.one, "ring", records, 4), reader(*shared.two, "ring", records, 4);
    const uint32_t capacity = writer.capacity();
    expect(capacity >= static_cast<uint32_t>(records) && (capacity & (capacity - 1)) == 0,
           "%d records make a ring of %u", records, capacity);
    uint32_t value = 7, next = 0, expected = 0;
    expect(!get(reader, &value) && value == 7, "an empty ring gives nothing, and writes nothing");
    // Full, half empty, full again, empty, across each place of the ring.
    for (uint32_t round = 0; round < 3 * capacity; ++round) {
      while (put(writer, next)) ++next;
      expect(static_cast<uint32_t>(reader.waiting()) == capacity, "a full ring has %d waiting",
             reader.waiting());
      expect(!put(writer, 0xdead), "a full ring refuses");
      for (uint32_t i = 0; i < round % capacity + 1; ++i) {
        expect(get(reader, &value) && value == expected, "record %u is %u", expected, value);
        ++expected;
      }
    }
    while (get(reader, &value)) expect(value == expected++, "the last records come in order");
    expect(expected == next && reader.waiting() == 0, "%u of %u records came", expected, next);
  }
}

// The counters of records ever are 32 bits: two years at 50 Hz, a day at 10 kHz and ten rings.
void check_counters_wrap() {
  Shared shared;
  Ring writer(*shared.one, "ring", 4, 4), reader(*shared.two, "ring", 4, 4);
  const uint32_t near_the_end = 0xfffffffd;  // a multiple of four, and one
  for (size_t offset : {0, 64})              // `written` and `read` are the arena's first regions
    std::memcpy(shared.peek + offset, &near_the_end, 4);
  uint32_t value = 0, next = 0, expected = 0;
  expect(!get(reader, &value) && reader.waiting() == 0, "near the end the ring is empty");
  for (int round = 0; round < 6; ++round) {
    while (put(writer, next)) ++next;
    expect(reader.waiting() == 4, "across the end a full ring has %d waiting", reader.waiting());
    for (int i = 0; i < 3; ++i)
      expect(get(reader, &value) && value == expected++, "across the end the order stays");
  }
  uint32_t written = 0;
  std::memcpy(&written, shared.peek, 4);
  expect(written < 100, "the counter went past its end: %u", written);
}

void check_ring_refusals() {
  Shared shared;
  for (int records : {0, -1, (1 << 24) + 1})
    expect(refusal([&] { Ring(*shared.one, "r", records, 4); }).rfind("Ring: expected", 0) == 0,
           "a ring of %d records is refused", records);
  for (int bytes : {0, -4, (1 << 24) + 1})
    expect(refusal([&] { Ring(*shared.one, "r", 4, bytes); }).rfind("Ring: expected", 0) == 0,
           "records of %d bytes are refused", bytes);
  Arena measuring(0, true);
  Ring ring(measuring, "ring", 4, 4);
  uint32_t value = 1;
  expect(refusal([&] { put(ring, 1); }) == "Ring is on a measuring arena", "put needs memory");
  expect(refusal([&] { get(ring, &value); }) == "Ring is on a measuring arena", "get needs memory");
}

// Large records of an odd size, so that copying one takes its time; all bytes of one are the same.
void check_ring_under_load() {
  constexpr int kRecords = 15000, kSize = 4093;
  Shared shared;
  Ring writer(*shared.one, "ring", 8, kSize), reader(*shared.two, "ring", 8, kSize);
  std::thread thread([&] {
    uint8_t record[kSize];
    for (int i = 0; i < kRecords; ++i) {
      std::memset(record, i % 251, kSize);
      while (!writer.put(record)) std::this_thread::yield();
    }
  });
  int torn = 0, misplaced = 0;
  uint8_t record[kSize];
  for (int i = 0; i < kRecords; ++i) {
    for (int tries = 1; !reader.get(record); ++tries)  // at once when it is there
      if (tries % 1000 == 0) std::this_thread::yield();
    for (int byte = 1; byte < kSize; ++byte) torn += record[byte] != record[0];
    misplaced += record[0] != i % 251;
  }
  thread.join();
  expect(torn == 0 && misplaced == 0, "%d bytes torn, %d records misplaced", torn, misplaced);
  expect(reader.waiting() == 0, "as many came as were put");
}

void check_turns_of_the_mailbox() {
  Shared shared;
  Mailbox writer(*shared.one, "mailbox", true), reader(*shared.two, "mailbox", false);
  expect(reader.take() == -1, "nothing was handed over yet");
  int mine = writer.mine();
  writer.publish();
  expect(writer.mine() != mine, "what was handed over is not the writer's any more");
  expect(reader.take() == mine, "the reader takes it");
  expect(reader.take() == mine, "and keeps it while there is no newer one");
  for (int i = 0; i < 5; ++i) {  // the reader sleeps: the writer has two buffers in turns
    const int held = reader.take();
    for (int j = 0; j < i; ++j) {
      mine = writer.mine();
      expect(mine != held, "the writer has the reader's buffer %d", held);
      writer.publish();
    }
    expect(reader.take() == (i ? mine : held), "the newest one comes, after %d", i);
  }
  expect(refusal([&] { reader.publish(); }) == "Mailbox: the reader publishes nothing",
         "the reader does not publish");
  expect(refusal([&] { writer.take(); }) == "Mailbox: the writer takes nothing",
         "the writer does not take");
  Arena measuring(0, true);
  Mailbox none(measuring, "mailbox", true);
  expect(refusal([&] { none.publish(); }) == "Mailbox is on a measuring arena",
         "publish needs memory");
}

// A buffer, its number all over it, and who has it: 0 nobody, 1 the writer, 2 the reader.
struct Buffer {
  static constexpr int kWords = 512;
  uint32_t words[kWords] = {};
  std::atomic<int> owner{0};
};

void check_no_half_buffer_is_ever_seen() {
  constexpr uint32_t kLast = 25000;
  Shared shared;
  Mailbox writer(*shared.one, "mailbox", true), reader(*shared.two, "mailbox", false);
  std::unique_ptr<Buffer[]> buffers(new Buffer[3]);
  std::atomic<int> shared_by_both{0};
  std::thread thread([&] {
    for (uint32_t number = 1; number <= kLast; ++number) {
      Buffer& buffer = buffers[writer.mine()];
      shared_by_both += buffer.owner.exchange(1) == 2;
      for (uint32_t& word : buffer.words) word = number;  // not atomic: a torn one would be seen
      buffer.owner = 0;
      writer.publish();
      if (number % 64 == 0) std::this_thread::yield();
    }
  });
  int torn = 0, backwards = 0, takes = 0;
  uint32_t newest = 0;
  while (newest < kLast) {
    const int index = reader.take();
    if (index < 0) continue;
    Buffer& buffer = buffers[index];
    shared_by_both += buffer.owner.exchange(2) == 1;
    const uint32_t number = buffer.words[0];
    for (uint32_t word : buffer.words) torn += word != number;
    backwards += number < newest;
    newest = number;
    ++takes;
    buffer.owner = 0;
  }
  thread.join();
  expect(torn == 0, "%d words of other actors in %d takes", torn, takes);
  expect(backwards == 0, "%d times an older actor came", backwards);
  expect(shared_by_both == 0, "%d times a buffer had two owners", shared_by_both.load());
}

}  // namespace

int main() {
  check_cells();
  check_order_full_and_empty();
  check_counters_wrap();
  check_ring_refusals();
  check_ring_under_load();
  check_turns_of_the_mailbox();
  check_no_half_buffer_is_ever_seen();
  return report();
}
