// What lies between the networks in an update: smoothing, targets, losses. Sums run in one fixed
// order.
#pragma once

#include "memory/batch.h"
#include "numbers/random.h"

namespace edgedst {

// actions <- clamp(actions + clamp(N(0, sigma^2), -clip, clip), -1, 1). Source: Fujimoto et al.
// 2018, equation 14.
void smooth_actions(const Batch& actions, Random& random, float sigma, float clip);

// Every real column a draw from N(0, 1), every padded one 0.
void fill_normal(const Batch& batch, Random& random);

// y = reward + discount min(q_1, q_2). A NaN in either q stays one.
void td_target(const Batch& reward, const Batch& discount, const Batch& q_1, const Batch& q_2,
               const Batch& y);

// y = reward + discount (min(q_1, q_2) - alpha log_prob). Source: Haarnoja et al. 2018, equation 3.
void soft_td_target(const Batch& reward, const Batch& discount, const Batch& q_1, const Batch& q_2,
                    const Batch& log_prob, float alpha, const Batch& y);

// Mean of min(q_1, q_2) over the real columns. The gradient `scale` of each goes to the smaller
// one, half to each of equal ones (as PyTorch's minimum), 0 in padded columns.
float least_q(const Batch& q_1, const Batch& q_2, float scale, const Batch& dq_1,
              const Batch& dq_2);

// mean((q - y)^2) over the real columns; dq = 2 (q - y) / count, 0 in padded columns.
float mse_loss(const Batch& q, const Batch& y, const Batch& dq);

// Mean over the real columns of a batch of one row.
float mean(const Batch& q);

}  // namespace edgedst
