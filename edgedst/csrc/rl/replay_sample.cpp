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
                    const Batch& reward, const Batch& discount, const Normalizer* normalizer,
                    int demonstrations, int n_steps, float gamma) const {
  const int columns = reward.columns;
  const int size = History::input_size(observation_size_, action_size_, history_);
  require_rows("critic_input", critic_input, size + action_size_, columns);
  require_rows("next_critic_input", next_critic_input, size, columns);
  require_rows("reward", reward, 1, columns);
  require_rows("discount", discount, 1, columns);
  if (n_steps < 1)
    throw std::invalid_argument("sample: `n_steps` is " + std::to_string(n_steps) +
                                ", expected 1 or more");
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
      for (const Batch* batch : {&critic_input, &next_critic_input})
        std::fill_n(batch->row(frame * observation_size_ + constant.feature), columns,
                    constant.sampled);
  if (half_)
    gather_batch(random, reinterpret_cast<const uint16_t*>(observations_),
                 reinterpret_cast<const uint16_t*>(actions_), demonstrations, critic_input,
                 next_critic_input, reward, discount, normalizer, n_steps, gamma);
  else
    gather_batch(random, reinterpret_cast<const float*>(observations_),
                 reinterpret_cast<const float*>(actions_), demonstrations, critic_input,
                 next_critic_input, reward, discount, normalizer, n_steps, gamma);
}

// Sixteen samples at a time: each feature's share of them is one cache line of the batch.
template <class T>
void Replay::gather_batch(Random& random, const T* observations, const T* actions,
                          int demonstrations, const Batch& critic_input,
                          const Batch& next_critic_input, const Batch& reward,
                          const Batch& discount, const Normalizer* normalizer, int n_steps,
                          float gamma) const {
  const int n = observation_size_, m = action_size_, frames = std::max(1, history_);
  const int past = frames * n, taken = History::input_size(n, m, history_);  // rows of a batch
  const int columns = reward.columns;
  uint64_t first = oldest();
  const uint64_t end = rows_closed_ - (dangling() ? 1 : 0);  // of the rows that may be transitions
  uint32_t candidates = static_cast<uint32_t>(end - first);
  // Where the rows before the oldest are gone, the first ones have no history. (Of two rows one is
  // a transition.)
  if (first > static_cast<uint64_t>(pinned_) && candidates > static_cast<uint32_t>(history_) + 1) {
    first += history_;
    candidates -= history_;
  }
  const bool scaled = normalizer || !offset_.empty();
  const float clip = normalizer ? static_cast<float>(normalizer->clip()) : FLT_MAX;
  // As `slot`, without a division.
  const uint64_t origin = oldest();
  const size_t origin_slot = slot(origin);
  const auto place = [&](uint64_t row) {
    if (row < static_cast<uint64_t>(pinned_)) return static_cast<size_t>(row);
    const size_t at = origin_slot + static_cast<size_t>(row - origin);
    return at < static_cast<size_t>(capacity_) ? at : at - static_cast<size_t>(ring());
  };
  const auto is_transition = [&](uint64_t row) {
    return row < end && (flags_[place(row)] & kTransition);
  };
  for (int b = 0; b < columns; b += kColumnAlignment) {
    const int width = std::min(kColumnAlignment, columns - b);
    uint64_t rows[kColumnAlignment], next[kColumnAlignment];
    size_t slots[kColumnAlignment];
    for (int c = 0; c < width; ++c) {
      const bool demonstration = b + c < demonstrations;
      do {
        rows[c] = demonstration ? random.below(pinned_) : first + random.below(candidates);
      } while (!(flags_[place(rows[c])] & kTransition));
      float total = 0, weight = 1;
      bool terminated;
      next[c] = rows[c];
      do {
        const size_t at = place(next[c]++);
        total += weight * rewards_[at];
        weight *= gamma;
        terminated = flags_[at] & kTerminated;
      } while (!terminated && next[c] - rows[c] < static_cast<uint64_t>(n_steps) &&
               is_transition(next[c]));
      reward.data[b + c] = total;
      discount.data[b + c] = terminated ? 0 : weight;
    }
    // What the networks see of these rows: the newest observation, and with a history those before
    // it and the actions that led there.
    const auto see = [&](const uint64_t (&of)[kColumnAlignment], const Batch& batch) {
      int back[kColumnAlignment];  // rows before it in its episode, at most `history_`
      for (int c = 0; c < width; ++c)
        for (back[c] = 0; back[c] < history_ && same_episode(of[c] - back[c]);) ++back[c];
      for (int k = 0; k <= history_; ++k) {
        for (int c = 0; c < width; ++c) slots[c] = place(of[c] - std::min(k, back[c]));
        if (k < frames) {
          gather(observations, stored_size_, stored_.data(), slots, width, batch.row(k * n) + b,
                 batch.stride);
          if (scaled) scale(batch, k * n, b, width, clip);
        }
        if (k == 0) continue;
        float* const done = batch.row(past + (k - 1) * m) + b;
        gather(actions, m, nullptr, slots, width, done, batch.stride);
        for (int c = 0; c < width; ++c)
          for (int j = 0; j < m && k > back[c]; ++j)
            done[static_cast<size_t>(j) * batch.stride + c] = 0;
      }
    };
    see(next, next_critic_input);
    see(rows, critic_input);
    for (int c = 0; c < width; ++c) slots[c] = place(rows[c]);
    gather(actions, m, nullptr, slots, width, critic_input.row(taken) + b, critic_input.stride);
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
