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

enum Flags : uint8_t {
  kTransition = 1,  // has an action, and the next row holds its next observation
  kTerminated = 2,
  kTruncated = 4,
  kOpen = 8,  // only in open_row's record
};

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

inline float widen(uint16_t half) { return float_from_half(half); }
inline float widen(float value) { return value; }

void require_rows(const char* name, const Batch& batch, int least, int columns) {
  if (!batch.data || batch.rows < least || batch.columns != columns)
    throw std::invalid_argument(
        std::string("sample: `") + name + "` " +
        (batch.data ? "is " + batch.shape() : "is on a measuring arena and has no memory") +
        ", expected " + std::to_string(least) + " rows of " + std::to_string(columns) + " samples");
}

}  // namespace

Replay::Replay(Arena& arena, const std::string& name, int capacity, int observation_size,
               int action_size, const std::string& dtype,
               const std::vector<std::pair<int, double>>& constants)
    : capacity_(capacity),
      observation_size_(observation_size),
      action_size_(action_size),
      half_(element_bytes(dtype) == 2) {
  if (capacity < 2)
    throw std::invalid_argument("Replay `" + name + "`: capacity is " + std::to_string(capacity) +
                                ", expected at least 2 rows: a transition and the open row");
  row_bytes(observation_size, action_size, dtype);  // the sizes are checked there
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

void Replay::sample(Random& random, const Batch& critic_input, const Batch& next_critic_input,
                    const Batch& reward, const Batch& terminated) const {
  const int columns = reward.columns;
  require_rows("critic_input", critic_input, observation_size_ + action_size_, columns);
  require_rows("next_critic_input", next_critic_input, observation_size_, columns);
  require_rows("reward", reward, 1, columns);
  require_rows("terminated", terminated, 1, columns);
  if (transitions() == 0) throw std::invalid_argument("sample: the replay holds no transition");
  const uint64_t first = oldest();
  const uint32_t candidates = static_cast<uint32_t>(rows_closed_ - first) - (dangling() ? 1 : 0);
  const size_t first_slot = slot(first);
  for (const Constant& constant : constants_)
    for (const Batch* batch : {&critic_input, &next_critic_input})
      std::fill_n(batch->row(constant.feature), columns, constant.sampled);
  const auto gather_all = [&](const auto* observations, const auto* actions) {
    // Sixteen samples at a time: each feature's share of them is one cache line of the batch.
    for (int b = 0; b < columns; b += kColumnAlignment) {
      const int width = std::min(kColumnAlignment, columns - b);
      size_t slots[kColumnAlignment];
      for (int c = 0; c < width; ++c) {
        size_t s;
        do {
          s = first_slot + random.below(candidates);
          if (s >= static_cast<size_t>(capacity_)) s -= capacity_;
        } while (!(flags_[s] & kTransition));
        slots[c] = s;
        reward.data[b + c] = rewards_[s];
        terminated.data[b + c] = flags_[s] & kTerminated ? 1 : 0;
      }
      gather(observations, stored_size_, stored_.data(), slots, width, 0, critic_input.data + b,
             critic_input.stride);
      gather(actions, action_size_, nullptr, slots, width, 0,
             critic_input.row(observation_size_) + b, critic_input.stride);
      gather(observations, stored_size_, stored_.data(), slots, width, 1,
             next_critic_input.data + b, next_critic_input.stride);
    }
  };
  if (half_)
    gather_all(reinterpret_cast<const uint16_t*>(observations_),
               reinterpret_cast<const uint16_t*>(actions_));
  else
    gather_all(reinterpret_cast<const float*>(observations_),
               reinterpret_cast<const float*>(actions_));
}

// out[features[j]][c] = rows[slots[c] + step][j]: widened feature by feature, then turned, a tile
// at a time. Without `features`, j stands for itself.
template <class T>
void Replay::gather(const T* rows, int size, const int* features, const size_t* slots, int columns,
                    size_t step, float* out, int stride) const {
  constexpr int kTile = 32;
  float tile[kColumnAlignment][kTile];
  for (int j = 0; j < size; j += kTile) {
    const int width = std::min(kTile, size - j);
    for (int c = 0; c < columns; ++c) {
      const size_t s = slots[c] + step;
      const T* row = rows + (s == static_cast<size_t>(capacity_) ? 0 : s) * size + j;
      for (int f = 0; f < width; ++f) tile[c][f] = widen(row[f]);
    }
    for (int f = 0; f < width; ++f) {
      const int feature = features == nullptr ? j + f : features[j + f];
      float* line = out + static_cast<size_t>(feature) * stride;
      for (int c = 0; c < columns; ++c) line[c] = tile[c][f];
    }
  }
}

void Replay::read_rows(uint64_t start, uint64_t count, uint8_t* records) const {
  if (start < oldest() || start > rows_closed_ || count > rows_closed_ - start)
    throw std::invalid_argument("read_rows: " + std::to_string(count) + " rows from row " +
                                std::to_string(start) + " on, but the ring holds rows [" +
                                std::to_string(oldest()) + ", " + std::to_string(rows_closed_) +
                                ")");
  for (uint64_t i = 0; i < count; ++i) copy_out(slot(start + i), records + i * row_bytes());
}

void Replay::write_rows(uint64_t start, uint64_t count, const uint8_t* records) {
  require_memory("write_rows");
  if (open_)
    throw std::invalid_argument("write_rows: the replay is in use: only an empty one resumes");
  if (rows_closed_ != first_row_ && start != rows_closed_)
    throw std::invalid_argument("write_rows: rows from " + std::to_string(start) +
                                " on, expected row " + std::to_string(rows_closed_) + " next");
  constexpr uint8_t kKnown = kTransition | kTerminated | kTruncated;
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t flags = records[(i + 1) * row_bytes() - 1];
    if ((flags & ~kKnown) || (flags && !(flags & kTransition)))
      throw std::invalid_argument("write_rows: record " + std::to_string(i) + " has flags " +
                                  std::to_string(flags) + ", which no closed row has");
  }
  if (count > 0 && rows_closed_ == first_row_) first_row_ = rows_closed_ = start;
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t* record = records + i * row_bytes();
    copy_in(slot(rows_closed_), record);
    close(record[row_bytes() - 1]);
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
  const uint64_t most = static_cast<uint64_t>(capacity_) - 1;
  return std::max(first_row_, rows_closed_ > most ? rows_closed_ - most : 0);
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
    if (std::fabs(observation[i]) > most)
      throw std::invalid_argument(
          "observation " + std::to_string(i) + " is " + number(observation[i]) + " and " +
          (half_ ? "float16" : "float32") + " holds at most " + (half_ ? "65504" : number(most)));
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
  for (int i = 0; i < stored_size_; ++i) store(row + i * element, observation[stored_[i]], half_);
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
