// SAC's policy: a Gaussian of independent components, squashed by tanh. Its head is a network's
// linear output: m rows of means, then m rows of log sigma. Source: Haarnoja et al. 2018, appendix
// C.
#pragma once

#include "memory/batch.h"
#include "numbers/random.h"

namespace edgedst {

// log sigma is clamped to this range; beyond it, it has no gradient.
constexpr float kLeastLogSigma = -20, kMostLogSigma = 2;

// action = tanh(u), u = mean + sigma * noise, and log_prob = log pi(action), summed over
// components: (m, B) and (1, B) from a head (2 m, B) and noise (m, B) from N(0, 1).
void squashed_actions(const Batch& head, const Batch& noise, const Batch& action,
                      const Batch& log_prob);

// Gradient of sum(weight * log_prob + q) at the head, by way of the reparameterised action: `dq_1`
// and `dq_2` are dq/daction (m, B), whose sum counts. `head`, `noise` and `action` as above.
void squashed_gradient(const Batch& head, const Batch& noise, const Batch& action,
                       const Batch& dq_1, const Batch& dq_2, float weight, const Batch& d_head);

// One sample: the action without noise, tanh(mean), and one drawn from the policy.
void mean_action(const float* head, int count, float* action);
void sample_action(const float* head, int count, Random& random, float* action);

}  // namespace edgedst
