#include "rl/gaussian.h"

#include <algorithm>
#include <cmath>

#include "kernels/table.h"
#include "system/threads.h"

namespace edgedst {
namespace {

constexpr float kLogTwo = 0.693147181f;
constexpr float kHalfLogTwoPi = 0.918938533f;

// One component before tanh.
struct Draw {
  float log_sigma;  // clamped
  float deviation;  // sigma * noise
  float u;          // mean + deviation
};

inline Draw draw(float mean, float log_sigma, float noise) {
  const float clamped = std::clamp(log_sigma, kLeastLogSigma, kMostLogSigma);
  const float deviation = std::exp(clamped) * noise;
  return {clamped, deviation, mean + deviation};
}

// 1 - tanh(u)^2 = 4 e / (1 + e)^2 with e = exp(-2 |u|), and its logarithm: near |tanh| = 1 the
// difference has no digit left in float32, and these have all of them.
inline float slope(float u) {
  const float e = std::exp(-2 * std::fabs(u));
  return 4 * e / ((1 + e) * (1 + e));
}
inline float log_slope(float u) {
  const float size = std::fabs(u);
  return 2 * (kLogTwo - size - std::log1p(std::exp(-2 * size)));
}

}  // namespace

void squashed_actions(const Batch& head, const Batch& noise, const Batch& action,
                      const Batch& log_prob) {
  const int m = action.rows, columns = action.columns;
  require_memory("squashed_actions", "action", action);
  require_shape("squashed_actions", "head", head, 2 * m, columns);
  require_shape("squashed_actions", "noise", noise, m, columns);
  require_shape("squashed_actions", "log_prob", log_prob, 1, columns);
  parallel_for(columns, [&](int begin, int end) {
    std::fill(log_prob.data + begin, log_prob.data + end, 0.0f);
    for (int i = 0; i < m; ++i) {
      const float *mean = head.row(i), *log_sigma = head.row(m + i), *normal = noise.row(i);
      for (int b = begin; b < end; ++b) {
        const Draw d = draw(mean[b], log_sigma[b], normal[b]);
        action.row(i)[b] = d.u;
        log_prob.data[b] -=
            0.5f * normal[b] * normal[b] + d.log_sigma + kHalfLogTwoPi + log_slope(d.u);
      }
    }
  });
  clear_padding(log_prob);
  clear_padding(action);
  kernels().tanh(action.data, static_cast<size_t>(m) * action.stride);
}

void squashed_gradient(const Batch& head, const Batch& noise, const Batch& action,
                       const Batch& dq_1, const Batch& dq_2, float weight, const Batch& d_head) {
  const int m = action.rows, columns = action.columns;
  require_memory("squashed_gradient", "action", action);
  require_shape("squashed_gradient", "head", head, 2 * m, columns);
  require_shape("squashed_gradient", "noise", noise, m, columns);
  require_shape("squashed_gradient", "dq_1", dq_1, m, columns);
  require_shape("squashed_gradient", "dq_2", dq_2, m, columns);
  require_shape("squashed_gradient", "d_head", d_head, 2 * m, columns);
  parallel_for(columns, [&](int begin, int end) {
    for (int i = 0; i < m; ++i) {
      const float *mean = head.row(i), *log_sigma = head.row(m + i), *normal = noise.row(i);
      for (int b = begin; b < end; ++b) {
        const Draw d = draw(mean[b], log_sigma[b], normal[b]);
        // d log_prob / du = 2 tanh(u); with the noise held fixed, log N itself only sees log sigma.
        const float dq = dq_1.row(i)[b] + dq_2.row(i)[b];
        const float du = dq * slope(d.u) + 2 * weight * action.row(i)[b];
        d_head.row(i)[b] = du;
        d_head.row(m + i)[b] = d.log_sigma == log_sigma[b] ? du * d.deviation - weight : 0;
      }
    }
  });
  clear_padding(d_head);
}

void mean_action(const float* head, int count, float* action) {
  std::copy_n(head, count, action);
  kernels().tanh(action, count);
}

void sample_action(const float* head, int count, Random& random, float* action) {
  for (int i = 0; i < count; ++i) action[i] = draw(head[i], head[count + i], random.normal()).u;
  kernels().tanh(action, count);
}

}  // namespace edgedst
