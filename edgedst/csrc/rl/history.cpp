#include "rl/history.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace edgedst {

Normalizer::Normalizer(Arena& arena, const std::string& name, int size, double clip)
    : size_(size), clip_(clip) {
  if (size < 1 || !(clip > 0))
    throw std::invalid_argument("Normalizer `" + name + "`: expected features and a clip above 0");
  state_ = arena.take<double>(name, static_cast<size_t>(state_size(size)));
}

double Normalizer::scale(int feature) const {
  constexpr double kRounding = 1e-6;  // of the mean: less is what float32 makes of a constant
  const double deviation = std::sqrt(state_[1 + size_ + feature] / std::max(1.0, state_[0]));
  return deviation > kRounding * std::max(1.0, std::fabs(mean(feature))) ? deviation : 1;
}

void Normalizer::add(const double* observation) {
  const double count = ++state_[0];
  double *mean = state_ + 1, *squares = mean + size_;
  for (int i = 0; i < size_; ++i) {
    const double off = observation[i] - mean[i];
    mean[i] += off / count;
    squares[i] += off * (observation[i] - mean[i]);
  }
}

void Normalizer::apply(const double* observation, double* out) const {
  for (int i = 0; i < size_; ++i)
    out[i] = std::min(std::max((observation[i] - mean(i)) / scale(i), -clip_), clip_);
}

void Normalizer::copy_from(const Normalizer& other) {
  std::memcpy(state_, other.state_, sizeof(double) * state_size(size_));
}

History::History(Arena& arena, const std::string& name, int observation_size, int action_size,
                 int history)
    : observation_size_(observation_size),
      action_size_(action_size),
      history_(history),
      frames_(std::max(1, history)),
      size_(input_size(observation_size, action_size, history)) {
  state_ = arena.take<double>(name + ".seen", size_);
  input_ = arena.take<double>(name + ".input", size_);
}

int History::input_size(int observation_size, int action_size, int history) {
  constexpr int kMost = 1 << 24;
  if (observation_size < 1 || action_size < 1 || history < 0 || observation_size > kMost ||
      action_size > kMost || history > kMost / (observation_size + action_size))
    throw std::invalid_argument("History: a history of " + std::to_string(history) + " with " +
                                std::to_string(observation_size) + " observations and " +
                                std::to_string(action_size) +
                                " actions, expected at most 2^24 numbers");
  return history == 0 ? observation_size : history * (observation_size + action_size);
}

void History::begin(const double* observation) {
  for (int i = 0; i < frames_; ++i)
    std::copy_n(observation, observation_size_, state_ + i * observation_size_);
  std::fill(state_ + frames_ * observation_size_, state_ + size_, 0.0);
}

void History::add(const float* action, const double* observation) {
  double* const actions = state_ + frames_ * observation_size_;
  std::memmove(state_ + observation_size_, state_,
               sizeof(double) * (frames_ - 1) * observation_size_);
  std::copy_n(observation, observation_size_, state_);
  if (history_ == 0) return;
  std::memmove(actions + action_size_, actions, sizeof(double) * (history_ - 1) * action_size_);
  std::copy_n(action, action_size_, actions);
}

const double* History::see(const Normalizer* normalizer) const {
  if (!normalizer) return state_;
  for (int i = 0; i < frames_; ++i)
    normalizer->apply(state_ + i * observation_size_, input_ + i * observation_size_);
  std::copy(state_ + frames_ * observation_size_, state_ + size_,
            input_ + frames_ * observation_size_);
  return input_;
}

}  // namespace edgedst
