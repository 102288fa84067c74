#include "rl/losses.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/table.h"
#include "system/threads.h"

namespace edgedst {
namespace {

// Calls body(element, a draw from N(0, 1)) for every real column of every row. An element's draw
// depends on where it lies, not on which thread comes by.
template <class Body>
void for_each_normal(const Batch& batch, Random& random, const Body& body) {
  const int count = batch.rows * batch.columns;
  parallel_for(count, [&](int begin, int end) {
    constexpr int kRun = 512;
    float draws[kRun];
    int row = begin / batch.columns, column = begin % batch.columns;
    for (; begin < end; begin += kRun) {
      const int run = std::min(end - begin, kRun);
      const uint64_t draw = random.counter + static_cast<uint64_t>(begin) * Random::kDrawsOfNormal;
      kernels().normals(random.seed(), random.stream(), draw, run, draws);
      for (int i = 0; i < run; ++i) {
        body(batch.row(row)[column], draws[i]);
        if (++column == batch.columns) column = 0, ++row;
      }
    }
  });
  random.counter += static_cast<uint64_t>(count) * Random::kDrawsOfNormal;
}

float least_of(float first, float second) {
  return first < second || first != first ? first : second;
}

// y = reward + discount value(b, min(q_1, q_2)).
template <class Value>
void bootstrap(const char* where, const Batch& reward, const Batch& discount, const Batch& q_1,
               const Batch& q_2, const Batch& y, const Value& value) {
  const int columns = reward.columns;
  require_shape(where, "reward", reward, 1, columns);
  require_shape(where, "discount", discount, 1, columns);
  require_shape(where, "q_1", q_1, 1, columns);
  require_shape(where, "q_2", q_2, 1, columns);
  require_shape(where, "y", y, 1, columns);
  for (int b = 0; b < columns; ++b)
    y.data[b] = reward.data[b] + discount.data[b] * value(b, least_of(q_1.data[b], q_2.data[b]));
  clear_padding(y);
}

}  // namespace

void smooth_actions(const Batch& actions, Random& random, float sigma, float clip) {
  require_memory("smooth_actions", "actions", actions);
  if (!(sigma >= 0) || !(clip >= 0))
    throw std::invalid_argument("smooth_actions: sigma " + std::to_string(sigma) + " and clip " +
                                std::to_string(clip) + " must not be negative");
  for_each_normal(actions, random, [&](float& action, float draw) {
    const float noise = std::clamp(sigma * draw, -clip, clip);
    action = std::clamp(action + noise, -1.0f, 1.0f);
  });
}

void fill_normal(const Batch& batch, Random& random) {
  require_memory("fill_normal", "batch", batch);
  for_each_normal(batch, random, [](float& element, float draw) { element = draw; });
  clear_padding(batch);
}

void td_target(const Batch& reward, const Batch& discount, const Batch& q_1, const Batch& q_2,
               const Batch& y) {
  bootstrap("td_target", reward, discount, q_1, q_2, y, [](int, float least) { return least; });
}

void soft_td_target(const Batch& reward, const Batch& discount, const Batch& q_1, const Batch& q_2,
                    const Batch& log_prob, float alpha, const Batch& y) {
  require_shape("soft_td_target", "log_prob", log_prob, 1, reward.columns);
  bootstrap("soft_td_target", reward, discount, q_1, q_2, y,
            [&](int b, float least) { return least - alpha * log_prob.data[b]; });
}

float least_q(const Batch& q_1, const Batch& q_2, float scale, const Batch& dq_1,
              const Batch& dq_2) {
  const int columns = q_1.columns;
  require_shape("least_q", "q_1", q_1, 1, columns);
  require_shape("least_q", "q_2", q_2, 1, columns);
  require_shape("least_q", "dq_1", dq_1, 1, columns);
  require_shape("least_q", "dq_2", dq_2, 1, columns);
  double sum = 0;
  for (int b = 0; b < columns; ++b) {
    const float first = q_1.data[b], second = q_2.data[b];
    const float share = first < second ? 1.0f : first > second ? 0.0f : 0.5f;
    dq_1.data[b] = scale * share;
    dq_2.data[b] = scale * (1 - share);
    sum += least_of(first, second);
  }
  clear_padding(dq_1);
  clear_padding(dq_2);
  return static_cast<float>(sum / columns);
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
  }
  clear_padding(dq);
  return static_cast<float>(sum / count);
}

float mean(const Batch& q) {
  require_shape("mean", "q", q, 1, q.columns);
  double sum = 0;
  for (int b = 0; b < q.columns; ++b) sum += q.data[b];
  return static_cast<float>(sum / q.columns);
}

}  // namespace edgedst
