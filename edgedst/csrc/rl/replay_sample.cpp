// How the replay gives a mini-batch: transitions at random, with what the networks see of them.
#include <algorithm>
#include <cfloat>
#include <cstring>
#include <stdexcept>

#include "numbers/half.h"
#include "rl/replay.h"

namespace edgedst {
namespace {

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

void Replay::sample(Random& random, const Batch& critic_input, const Batch& next_critic_input,
                    const Batch& reward, const Batch& terminated, const Normalizer* normalizer,
                    int demonstrations) const {
  const int columns = reward.columns;
  const int size = History::input_size(observation_size_, action_size_, history_);
  require_rows("critic_input", critic_input, size + action_size_, columns);
  require_rows("next_critic_input", next_critic_input, size, columns);
  require_rows("reward", reward, 1, columns);
  require_rows("terminated", terminated, 1, columns);
  if (transitions() == 0) throw std::invalid_argument("sample: the replay holds no transition");
  if (normalizer && normalizer->size() != observation_size_)
    throw std::invalid_argument("sample: the normalizer is of " +
                                std::to_string(normalizer->size()) + " observations, expected " +
                                std::to_string(observation_size_));
  if (transitions() == pinned_transitions_) demonstrations = columns;
  if (pinned_transitions_ == 0) demonstrations = 0;
  const bool scaled = normalizer || !offset_.empty();
  for (int i = 0; scaled && i < observation_size_; ++i) {
    const double offset = offset_.empty() ? 0 : offset_[i];
    const double scale = normalizer ? normalizer->scale(i) : 1;
    gains_[i] = static_cast<float>(1 / scale);
    shifts_[i] = static_cast<float>((offset - (normalizer ? normalizer->mean(i) : 0)) / scale);
  }
  for (const Constant& constant : constants_)
    for (int frame = 0; frame < std::max(1, history_); ++frame)
      std::fill_n(critic_input.row(frame * observation_size_ + constant.feature), columns,
                  constant.sampled);
  for (const Constant& constant : constants_)
    std::fill_n(next_critic_input.row(constant.feature), columns, constant.sampled);
  if (half_)
    gather_batch(random, reinterpret_cast<const uint16_t*>(observations_),
                 reinterpret_cast<const uint16_t*>(actions_), demonstrations, critic_input,
                 next_critic_input, reward, terminated, normalizer);
  else
    gather_batch(random, reinterpret_cast<const float*>(observations_),
                 reinterpret_cast<const float*>(actions_), demonstrations, critic_input,
                 next_critic_input, reward, terminated, normalizer);
}

// Sixteen samples at a time: each feature's share of them is one cache line of the batch.
template <class T>
void Replay::gather_batch(Random& random, const T* observations, const T* actions,
                          int demonstrations, const Batch& critic_input,
                          const Batch& next_critic_input, const Batch& reward,
                          const Batch& terminated, const Normalizer* normalizer) const {
  const int n = observation_size_, m = action_size_, frames = std::max(1, history_);
  const int past = frames * n, taken = History::input_size(n, m, history_);  // rows of a batch
  const int columns = reward.columns, stride = critic_input.stride;
  uint64_t first = oldest();
  uint32_t candidates = static_cast<uint32_t>(rows_closed_ - first) - (dangling() ? 1 : 0);
  // Where the rows before the oldest are gone, the first ones have no history. (Of two rows one is
  // a transition.)
  if (first > static_cast<uint64_t>(pinned_) && candidates > static_cast<uint32_t>(history_) + 1) {
    first += history_;
    candidates -= history_;
  }
  const bool scaled = normalizer || !offset_.empty();
  const float clip = normalizer ? static_cast<float>(normalizer->clip()) : FLT_MAX;
  for (int b = 0; b < columns; b += kColumnAlignment) {
    const int width = std::min(kColumnAlignment, columns - b);
    uint64_t rows[kColumnAlignment];
    size_t slots[kColumnAlignment], next[kColumnAlignment];
    for (int c = 0; c < width; ++c) {
      const bool demonstration = b + c < demonstrations;
      do {
        rows[c] = demonstration ? random.below(pinned_) : first + random.below(candidates);
        slots[c] = slot(rows[c]);
      } while (!(flags_[slots[c]] & kTransition));
      next[c] = slots[c] + 1 == static_cast<size_t>(capacity_) ? static_cast<size_t>(pinned_)
                                                               : slots[c] + 1;
      reward.data[b + c] = rewards_[slots[c]];
      terminated.data[b + c] = flags_[slots[c]] & kTerminated ? 1 : 0;
    }
    gather(observations, stored_size_, stored_.data(), slots, width, critic_input.data + b, stride);
    gather(actions, m, nullptr, slots, width, critic_input.row(taken) + b, stride);
    gather(observations, stored_size_, stored_.data(), next, width, next_critic_input.data + b,
           next_critic_input.stride);
    if (scaled) scale(critic_input, 0, b, width, clip);
    if (scaled) scale(next_critic_input, 0, b, width, clip);
    if (history_ == 0) continue;
    int back[kColumnAlignment];  // rows before it in its episode, at most `history_`
    for (int c = 0; c < width; ++c)
      for (back[c] = 0; back[c] < history_ && same_episode(rows[c] - back[c]);) ++back[c];
    for (int k = 1; k <= history_; ++k) {
      for (int c = 0; c < width; ++c) slots[c] = slot(rows[c] - std::min(k, back[c]));
      float* const done = critic_input.row(past + (k - 1) * m) + b;
      gather(actions, m, nullptr, slots, width, done, stride);
      for (int c = 0; c < width; ++c)
        for (int j = 0; j < m && k > back[c]; ++j) done[static_cast<size_t>(j) * stride + c] = 0;
      if (k == history_) break;
      gather(observations, stored_size_, stored_.data(), slots, width, critic_input.row(k * n) + b,
             stride);
      if (scaled) scale(critic_input, k * n, b, width, clip);
    }
    // What the next step sees is one step further: all of it but the newest is in the batch.
    const auto copy = [&](int from, int to, int count) {
      for (int j = 0; j < count; ++j)
        std::copy_n(critic_input.row(from + j) + b, width, next_critic_input.row(to + j) + b);
    };
    copy(0, n, past - n);
    copy(taken, past, m);
    copy(past, past + m, (history_ - 1) * m);
  }
}

// One observation of each column: what a row holds becomes what the networks see.
void Replay::scale(const Batch& batch, int row, int column, int width, float clip) const {
  for (int i = 0; i < observation_size_; ++i) {
    float* line = batch.row(row + i) + column;
    for (int c = 0; c < width; ++c)
      line[c] = std::min(std::max(line[c] * gains_[i] + shifts_[i], -clip), clip);
  }
}

bool Replay::same_episode(uint64_t row) const {
  const uint64_t first = row < static_cast<uint64_t>(pinned_) ? 0 : oldest();
  return row > first && (flags_[slot(row - 1)] & kTransition);
}

// out[features[j]][c] = rows[slots[c]][j]: widened feature by feature, then turned, a tile at a
// time. Without `features`, j stands for itself.
template <class T>
void Replay::gather(const T* rows, int size, const int* features, const size_t* slots, int columns,
                    float* out, int stride) const {
  constexpr int kTile = 32;
  float tile[kColumnAlignment][kTile];
  for (int j = 0; j < size; j += kTile) {
    const int width = std::min(kTile, size - j);
    for (int c = 0; c < columns; ++c) {
      const T* row = rows + slots[c] * size + j;
      for (int f = 0; f < width; ++f) tile[c][f] = widen(row[f]);
    }
    for (int f = 0; f < width; ++f) {
      const int feature = features == nullptr ? j + f : features[j + f];
      float* line = out + static_cast<size_t>(feature) * stride;
      for (int c = 0; c < columns; ++c) line[c] = tile[c][f];
    }
  }
}

}  // namespace edgedst
