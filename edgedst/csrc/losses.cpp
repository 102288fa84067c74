#include "losses.h"

#include <algorithm>
#include <stdexcept>

#include "threads.h"

namespace edgedst {
namespace {

void require_memory(const char* where, const char* name, const Batch& batch) {
  if (!batch.data)
    throw std::invalid_argument(std::string(where) + ": `" + name +
                                "` is on a measuring arena and has no memory");
}

void require_shape(const char* where, const char* name, const Batch& batch, int rows, int columns) {
  require_memory(where, name, batch);
  if (batch.rows != rows || batch.columns != columns)
    throw std::invalid_argument(std::string(where) + ": `" + name + "` is " + batch.shape() +
                                ", expected (" + std::to_string(rows) + ", " +
                                std::to_string(columns) + ")");
}

}  // namespace

void fill(const Batch& batch, float value) {
  require_memory("fill", "batch", batch);
  for (int r = 0; r < batch.rows; ++r) {
    float* row = batch.row(r);
    std::fill(row, row + batch.columns, value);
    std::fill(row + batch.columns, row + batch.stride, 0.0f);
  }
}

void smooth_actions(const Batch& actions, Random& random, float sigma, float clip) {
  require_memory("smooth_actions", "actions", actions);
  if (!(sigma >= 0) || !(clip >= 0))
    throw std::invalid_argument("smooth_actions: sigma " + std::to_string(sigma) + " and clip " +
                                std::to_string(clip) + " must not be negative");
  const int count = actions.rows * actions.columns;
  parallel_for(count, [&](int begin, int end) {
    Random own = random;
    own.counter += static_cast<uint64_t>(begin) * Random::kDrawsOfNormal;
    for (int i = begin; i < end; ++i) {
      float& action = actions.row(i / actions.columns)[i % actions.columns];
      const float noise = std::clamp(sigma * own.normal(), -clip, clip);
      action = std::clamp(action + noise, -1.0f, 1.0f);
    }
  });
  random.counter += static_cast<uint64_t>(count) * Random::kDrawsOfNormal;
}

void td_target(const Batch& reward, const Batch& terminated, const Batch& q_1, const Batch& q_2,
               float gamma, const Batch& y) {
  const int columns = reward.columns;
  require_shape("td_target", "reward", reward, 1, columns);
  require_shape("td_target", "terminated", terminated, 1, columns);
  require_shape("td_target", "q_1", q_1, 1, columns);
  require_shape("td_target", "q_2", q_2, 1, columns);
  require_shape("td_target", "y", y, 1, columns);
  for (int b = 0; b < columns; ++b) {
    const float first = q_1.data[b], second = q_2.data[b];
    const float least = first < second || first != first ? first : second;
    y.data[b] = reward.data[b] + gamma * (1 - terminated.data[b]) * least;
  }
  std::fill(y.data + columns, y.data + y.stride, 0.0f);
}

float mse_loss(const Batch& q, const Batch& y, const Batch& dq) {
  require_memory("mse_loss", "q", q);
  require_shape("mse_loss", "y", y, q.rows, q.columns);
  require_shape("mse_loss", "dq", dq, q.rows, q.columns);
  const double count = static_cast<double>(q.rows) * q.columns;
  const float scale = static_cast<float>(2 / count);
  double sum = 0;
  for (int r = 0; r < q.rows; ++r) {
    for (int b = 0; b < q.columns; ++b) {
      const float error = q.row(r)[b] - y.row(r)[b];
      dq.row(r)[b] = scale * error;
      sum += static_cast<double>(error) * error;
    }
    std::fill(dq.row(r) + dq.columns, dq.row(r) + dq.stride, 0.0f);
  }
  return static_cast<float>(sum / count);
}

float mean(const Batch& q) {
  require_shape("mean", "q", q, 1, q.columns);
  double sum = 0;
  for (int b = 0; b < q.columns; ++b) sum += q.data[b];
  return static_cast<float>(sum / q.columns);
}

}  // namespace edgedst
