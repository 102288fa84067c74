// What the networks see of an episode: its last observations and actions, normalised where that is
// wanted.
#pragma once

#include <cstdint>
#include <string>

#include "memory/arena.h"

namespace edgedst {

// Running mean and variance of observations, feature by feature, and what they make of one:
// clip((x - mean) / scale, -clip, clip).
// Source: Welford 1962. A feature that has not moved yet is only shifted.
class Normalizer {
 public:
  Normalizer(Arena& arena, const std::string& name, int size, double clip);

  int size() const { return size_; }
  double clip() const { return clip_; }
  double count() const { return state_ ? state_[0] : 0; }
  double mean(int feature) const { return state_[1 + feature]; }
  // The standard deviation; 1 where it is too small against the mean to be more than rounding.
  double scale(int feature) const;

  void add(const double* observation);
  void apply(const double* observation, double* out) const;
  void copy_from(const Normalizer& other);

  // count, then mean and sum of squared deviations of each feature.
  double* state() const { return state_; }
  static int64_t state_size(int size) { return 1 + 2 * static_cast<int64_t>(size); }

 private:
  int size_;
  double clip_;
  double* state_;
};

// The last observations and actions of one episode, newest first. With a history of 0 that is the
// last observation alone; with K it is K observations and K actions. Before the episode its first
// observation is repeated, and actions are 0.
class History {
 public:
  History(Arena& arena, const std::string& name, int observation_size, int action_size,
          int history);

  // Features that the networks take.
  static int input_size(int observation_size, int action_size, int history);

  int observation_size() const { return observation_size_; }
  int action_size() const { return action_size_; }
  int size() const { return size_; }

  void begin(const double* observation);
  void add(const float* action, const double* observation);
  // What the networks take, valid until the next call.
  const double* see(const Normalizer* normalizer) const;

  // size() numbers: the observations, then the actions.
  double* state() const { return state_; }

 private:
  int observation_size_, action_size_, history_, frames_, size_;
  double *state_, *input_;
};

}  // namespace edgedst
