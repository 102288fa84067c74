#include "rl/replay.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "numbers/half.h"

namespace edgedst {
namespace {

size_t element_bytes(const std::string& dtype) {
  if (dtype == "float16") return 2;
  if (dtype == "float32") return 4;
  throw std::invalid_argument("Replay: dtype is \"" + dtype +
                              "\", expected \"float16\" or \"float32\"");
}

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return text;
}

void store(uint8_t* to, double x, bool half) {
  if (half) {
    const uint16_t bits = half_from_double(x);
    std::memcpy(to, &bits, sizeof bits);
  } else {
    const float value = static_cast<float>(x);
    std::memcpy(to, &value, sizeof value);
  }
}

float as_stored(double x, bool half) {
  return half ? float_from_half(half_from_double(x)) : static_cast<float>(x);
}

}  // namespace

Replay::Replay(Arena& arena, const std::string& name, int capacity, int observation_size,
               int action_size, const std::string& dtype,
               const std::vector<std::pair<int, double>>& constants, int history)
    : capacity_(capacity),
      observation_size_(observation_size),
      action_size_(action_size),
      history_(history),
      half_(element_bytes(dtype) == 2) {
  if (capacity < 2)
    throw std::invalid_argument("Replay `" + name + "`: capacity is " + std::to_string(capacity) +
                                ", expected at least 2 rows: a transition and the open row");
  History::input_size(observation_size, action_size, history);  // checked there
  row_bytes(observation_size, action_size, dtype);              // the sizes are checked there
  int next = 0;
  for (const auto& [feature, value] : constants) {
    if (feature < next || feature >= observation_size)
      throw std::invalid_argument("Replay `" + name + "`: constants must name features of " +
                                  std::to_string(observation_size) + " in ascending order, and " +
                                  std::to_string(feature) + " is among them");
    while (next < feature) stored_.push_back(next++);
    ++next;
    constants_.push_back({feature, value, as_stored(value, half_)});
  }
  while (next < observation_size) stored_.push_back(next++);
  stored_size_ = static_cast<int>(stored_.size());
  row_bytes(stored_size_, action_size, dtype);
  const size_t rows = static_cast<size_t>(capacity);
  const size_t element = element_bytes(dtype);
  observations_ = arena.take<uint8_t>(name + ".observations", rows * stored_size_ * element);
  actions_ = arena.take<uint8_t>(name + ".actions", rows * action_size * element);
  rewards_ = arena.take<float>(name + ".rewards", rows);
  flags_ = arena.take<uint8_t>(name + ".flags", rows);
  gains_.assign(observation_size, 1);
  shifts_.assign(observation_size, 0);
}

size_t Replay::row_bytes(int stored_size, int action_size, const std::string& dtype) {
  constexpr int kMost = 1 << 24;
  if (stored_size < 1 || action_size < 1 || stored_size > kMost || action_size > kMost)
    throw std::invalid_argument("Replay: observations of " + std::to_string(stored_size) +
                                " and actions of " + std::to_string(action_size) +
                                " numbers, expected 1 to 2^24 of each");
  return (static_cast<size_t>(stored_size) + action_size) * element_bytes(dtype) + sizeof(float) +
         1;
}

size_t Replay::row_bytes() const {
  return row_bytes(stored_size_, action_size_, half_ ? "float16" : "float32");
}

std::vector<std::pair<int, double>> Replay::constants() const {
  std::vector<std::pair<int, double>> constants;
  for (const Constant& constant : constants_)
    constants.emplace_back(constant.feature, constant.value);
  return constants;
}

int Replay::transitions() const { return transitions_ - (dangling() ? 1 : 0); }

void Replay::begin_episode(const double* observation) {
  require_memory("begin_episode");
  check_range(observation);
  // The open row is an episode's last observation when a transition needs it; else nobody misses
  // it.
  if (open_ && transition_before_open()) close(0);
  put_observation(observation);
  open_ = true;
}

void Replay::add(const float* action, float reward, const double* next_observation, bool terminated,
                 bool truncated) {
  if (!open_) throw std::invalid_argument("add: there is no episode: call begin_episode first");
  if (transition_before_open() && (flags_[slot(rows_closed_ - 1)] & (kTerminated | kTruncated)))
    throw std::invalid_argument("add: the episode has ended: call begin_episode first");
  check_range(next_observation);
  const size_t element = half_ ? 2 : 4;
  const size_t row = slot(rows_closed_);
  for (int i = 0; i < action_size_; ++i)
    store(actions_ + (row * action_size_ + i) * element, action[i], half_);
  rewards_[row] = reward;
  close(kTransition | (terminated ? kTerminated : 0) | (truncated ? kTruncated : 0));
  put_observation(next_observation);
}

void Replay::set_offset(const double* offset) {
  if (open_ || rows_closed_ != first_row_)
    throw std::invalid_argument("set_offset: the replay is in use: only an empty one takes it");
  offset_.assign(offset, offset + observation_size_);
  for (const Constant& constant : constants_) offset_[constant.feature] = 0;
}

void Replay::pin() {
  require_memory("pin");
  if (open_ && transition_before_open()) close(0);
  open_ = false;
  if (pinned_ > 0 || first_row_ != 0 || rows_closed_ + 2 > static_cast<uint64_t>(capacity_))
    throw std::invalid_argument(
        "pin: expected a replay that holds all of its rows, and at least 2 more");
  pinned_ = static_cast<int>(rows_closed_);
  pinned_transitions_ = transitions_;
}

void Replay::set_pinned(int rows) {
  if (open_ || rows_closed_ != first_row_ || rows < 0 || rows > capacity_ - 2)
    throw std::invalid_argument("set_pinned: " + std::to_string(rows) + " rows of " +
                                std::to_string(capacity_) + " of a replay that is not in use");
  pinned_ = rows;
}

void Replay::read_rows(uint64_t start, uint64_t count, uint8_t* records) const {
  const uint64_t pinned = static_cast<uint64_t>(pinned_);
  const uint64_t first = start < pinned ? 0 : oldest();
  const uint64_t stop = start < pinned && oldest() > pinned ? pinned : rows_closed_;
  if (start < first || start > stop || count > stop - start)
    throw std::invalid_argument("read_rows: " + std::to_string(count) + " rows from row " +
                                std::to_string(start) + " on, but the ring holds rows [" +
                                std::to_string(first) + ", " + std::to_string(stop) + ")");
  for (uint64_t i = 0; i < count; ++i) copy_out(slot(start + i), records + i * row_bytes());
}

void Replay::write_rows(uint64_t start, uint64_t count, const uint8_t* records) {
  require_memory("write_rows");
  if (open_)
    throw std::invalid_argument("write_rows: the replay is in use: only an empty one resumes");
  const uint64_t pinned = static_cast<uint64_t>(pinned_);
  const bool empty = rows_closed_ == first_row_;
  // What the ring held behind the pinned rows may be gone.
  const bool behind_pinned = pinned > 0 && rows_closed_ == pinned && start >= pinned;
  if ((!empty || pinned > 0) && start != rows_closed_ && !behind_pinned)
    throw std::invalid_argument("write_rows: rows from " + std::to_string(start) +
                                " on, expected row " + std::to_string(rows_closed_) + " next");
  constexpr uint8_t kKnown = kTransition | kTerminated | kTruncated;
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t flags = records[(i + 1) * row_bytes() - 1];
    if ((flags & ~kKnown) || (flags && !(flags & kTransition)))
      throw std::invalid_argument("write_rows: record " + std::to_string(i) + " has flags " +
                                  std::to_string(flags) + ", which no closed row has");
  }
  if (count > 0 && (empty || behind_pinned)) first_row_ = rows_closed_ = start;
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t* record = records + i * row_bytes();
    copy_in(slot(rows_closed_), record);
    close(record[row_bytes() - 1]);
    if (rows_closed_ <= pinned) pinned_transitions_ = transitions_;
  }
}

void Replay::open_row(uint8_t* record) const {
  std::memset(record, 0, row_bytes());
  if (!open_) return;
  const size_t bytes = stored_size_ * (half_ ? 2 : 4);
  std::memcpy(record, observations_ + slot(rows_closed_) * bytes, bytes);
  record[row_bytes() - 1] = kOpen;
}

void Replay::set_open_row(const uint8_t* record) {
  require_memory("set_open_row");
  const uint8_t flags = record[row_bytes() - 1];
  if (flags & ~kOpen)
    throw std::invalid_argument("set_open_row: the record has flags " + std::to_string(flags) +
                                ", which no open row has");
  const size_t bytes = stored_size_ * (half_ ? 2 : 4);
  std::memcpy(observations_ + slot(rows_closed_) * bytes, record, bytes);
  open_ = flags == kOpen;
}

// The oldest closed row: the open row's slot held the one before it.
uint64_t Replay::oldest() const {
  const uint64_t most = ring() - 1;
  const uint64_t first = std::max(first_row_, static_cast<uint64_t>(pinned_));
  return std::max(first, rows_closed_ > most ? rows_closed_ - most : 0);
}

bool Replay::transition_before_open() const {
  return rows_closed_ > first_row_ && (flags_[slot(rows_closed_ - 1)] & kTransition);
}

// After write_rows and before set_open_row, the newest transition has no next observation.
bool Replay::dangling() const { return !open_ && transition_before_open(); }

// The slot that the next row will open in loses what it held: the oldest row, when the ring is
// full.
void Replay::close(uint8_t flags) {
  const uint64_t leaving = oldest();
  flags_[slot(rows_closed_)] = flags;
  ++rows_closed_;
  transitions_ += flags & kTransition;
  if (oldest() > leaving) transitions_ -= flags_[slot(leaving)] & kTransition;
}

void Replay::check_range(const double* observation) const {
  const double most = half_ ? kHalfMost : static_cast<double>(FLT_MAX);
  for (int i = 0; i < observation_size_; ++i) {
    const double stored = observation[i] - (offset_.empty() ? 0 : offset_[i]);
    if (std::fabs(stored) > most)
      throw std::invalid_argument(
          "observation " + std::to_string(i) + " is " + number(observation[i]) +
          (offset_.empty() ? "" : ", which is kept as " + number(stored) + " from the first one,") +
          " and " + (half_ ? "float16" : "float32") + " holds at most " +
          (half_ ? "65504" : number(most)));
  }
  for (const Constant& constant : constants_)
    if (observation[constant.feature] != constant.value)
      throw std::invalid_argument("observation " + std::to_string(constant.feature) + " is " +
                                  number(observation[constant.feature]) +
                                  " and the task says that it is always " + number(constant.value));
}

void Replay::require_memory(const char* method) const {
  if (!flags_)
    throw std::invalid_argument(std::string(method) +
                                ": the replay is on a measuring arena and has no memory");
}

void Replay::put_observation(const double* observation) {
  const size_t element = half_ ? 2 : 4;
  uint8_t* row = observations_ + slot(rows_closed_) * stored_size_ * element;
  for (int i = 0; i < stored_size_; ++i) {
    const double offset = offset_.empty() ? 0 : offset_[stored_[i]];
    store(row + i * element, observation[stored_[i]] - offset, half_);
  }
}

void Replay::copy_out(size_t slot, uint8_t* record) const {
  const size_t element = half_ ? 2 : 4;
  const size_t observation_bytes = stored_size_ * element, action_bytes = action_size_ * element;
  std::memcpy(record, observations_ + slot * observation_bytes, observation_bytes);
  std::memcpy(record + observation_bytes, actions_ + slot * action_bytes, action_bytes);
  std::memcpy(record + observation_bytes + action_bytes, rewards_ + slot, sizeof(float));
  record[row_bytes() - 1] = flags_[slot];
}

void Replay::copy_in(size_t slot, const uint8_t* record) {
  const size_t element = half_ ? 2 : 4;
  const size_t observation_bytes = stored_size_ * element, action_bytes = action_size_ * element;
  std::memcpy(observations_ + slot * observation_bytes, record, observation_bytes);
  std::memcpy(actions_ + slot * action_bytes, record + observation_bytes, action_bytes);
  std::memcpy(rewards_ + slot, record + observation_bytes + action_bytes, sizeof(float));
}

}  // namespace edgedst
