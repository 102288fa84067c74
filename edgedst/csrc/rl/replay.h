// Experience replay: a ring of rows in the arena, each observation stored once, in half or single
// precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "memory/arena.h"
#include "memory/batch.h"
#include "numbers/random.h"
#include "rl/history.h"

namespace edgedst {

// Row i lies at i mod capacity. Rows before `rows_closed` are closed; row `rows_closed` is open: it
// holds the current observation. The next observation of a row is the next row's, so an episode's
// last observation has a row of its own, which is no transition. The ring holds the open row and at
// most capacity - 1 closed ones. The first `pinned` rows lie before the ring and stay.
class Replay {
 public:
  // `constants`: entries of every observation that never move, by index, and their values. They are
  // not stored; samples have them all the same. `history`: as in History; samples have that many
  // observations and actions, gathered from the rows before.
  Replay(Arena& arena, const std::string& name, int capacity, int observation_size, int action_size,
         const std::string& dtype, const std::vector<std::pair<int, double>>& constants = {},
         int history = 0);

  // Bytes of a record: what is stored of the observation, action, reward (float32), flags (1 byte).
  static size_t row_bytes(int stored_size, int action_size, const std::string& dtype);

  int capacity() const { return capacity_; }
  int observation_size() const { return observation_size_; }
  int action_size() const { return action_size_; }
  size_t row_bytes() const;
  std::vector<std::pair<int, double>> constants() const;
  int transitions() const;
  uint64_t rows_closed() const { return rows_closed_; }

  // Rows hold observations less this: what float16 keeps is relative to the distance from 0. To be
  // set before the first row; constants have none.
  void set_offset(const double* offset);
  const std::vector<double>& offset() const { return offset_; }
  // All rows so far stay: `sample` draws demonstrations from them. The episode is over.
  void pin();
  // Of a replay that is read back, before its first row.
  void set_pinned(int rows);
  int pinned() const { return pinned_; }
  int demonstrations() const { return pinned_transitions_; }  // among the pinned rows

  void begin_episode(const double* observation);
  // Leaves the replay as it was when it throws.
  void add(const float* action, float reward, const double* next_observation, bool terminated,
           bool truncated);
  // The first `demonstrations` columns come from the pinned rows, all of them where the ring has
  // none; the others come from the ring. What is next is n' <= n_steps further, as far as the
  // episode goes or the newest row; reward = sum of gamma^k r_k over k < n', discount = gamma^n',
  // or 0 where it terminated.
  void sample(Random& random, const Batch& critic_input, const Batch& next_critic_input,
              const Batch& reward, const Batch& discount, const Normalizer* normalizer = nullptr,
              int demonstrations = 0, int n_steps = 1, float gamma = 1) const;

  void read_rows(uint64_t start, uint64_t count, uint8_t* records) const;
  void write_rows(uint64_t start, uint64_t count, const uint8_t* records);
  void open_row(uint8_t* record) const;
  void set_open_row(const uint8_t* record);

 private:
  enum Flags : uint8_t {
    kTransition = 1,  // has an action, and the next row holds its next observation
    kTerminated = 2,
    kTruncated = 4,
    kOpen = 8,  // only in open_row's record
  };

  uint64_t oldest() const;
  size_t slot(uint64_t row) const {
    const uint64_t pinned = static_cast<uint64_t>(pinned_);
    return static_cast<size_t>(row < pinned ? row : pinned + (row - pinned) % ring());
  }
  uint64_t ring() const { return static_cast<uint64_t>(capacity_) - pinned_; }
  bool same_episode(uint64_t row) const;  // as the row before
  void scale(const Batch& batch, int row, int column, int width, float clip) const;
  bool transition_before_open() const;
  bool dangling() const;
  void close(uint8_t flags);
  void check_range(const double* observation) const;
  void require_memory(const char* method) const;
  void put_observation(const double* observation);
  void copy_out(size_t slot, uint8_t* record) const;
  void copy_in(size_t slot, const uint8_t* record);
  template <class T>
  void gather_batch(Random& random, const T* observations, const T* actions, int demonstrations,
                    const Batch& critic_input, const Batch& next_critic_input, const Batch& reward,
                    const Batch& discount, const Normalizer* normalizer, int n_steps,
                    float gamma) const;
  template <class T>
  void gather(const T* rows, int size, const int* features, const size_t* slots, int columns,
              float* out, int stride) const;

  int capacity_, observation_size_, action_size_, history_;
  bool half_;
  struct Constant {
    int feature;
    double value;
    float sampled;  // the value as a row would have kept it
  };
  std::vector<Constant> constants_;
  std::vector<int> stored_;  // features of the observation that rows hold, ascending
  int stored_size_;
  std::vector<double> offset_;  // of each feature; empty: none
  int pinned_ = 0, pinned_transitions_ = 0;
  mutable std::vector<float> gains_, shifts_;  // scratch of `sample`, of each feature
  uint8_t* observations_;                      // [capacity][stored_size] of float16 or float32
  uint8_t* actions_;                           // [capacity][action_size], likewise
  float* rewards_;
  uint8_t* flags_;

  uint64_t rows_closed_ = 0;
  uint64_t first_row_ = 0;  // a resumed ring need not begin at row 0
  bool open_ = false;       // the open row holds an observation
  int transitions_ = 0;     // closed rows of the ring that are transitions
};

}  // namespace edgedst
