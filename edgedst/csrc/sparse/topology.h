// How a topology begins (Erdos-Renyi, eq. 1), evolves (Algorithm 2) and is maintained in a target
// (Algorithm 3) of Sokar et al. 2022.
#pragma once

#include "numbers/random.h"
#include "sparse/layer.h"

namespace edgedst {

// Exactly `budget` uniformly random positions; weights and biases U(+-1/sqrt(in)), moments 0.
void initialise(Layer& layer, Random& random, TopologyWorkspace& workspace);

// Drop the exact zeros and the share `drop_fraction` of the positive and of the negative weights
// nearest zero; grow as many at uniformly random empty positions, a just-dropped one included, with
// weight and moments 0. Returns how many.
uint32_t evolve(Layer& layer, double drop_fraction, Random& random, TopologyWorkspace& workspace);

// The target's topology becomes the union of both; positions where its weight is 0 or NaN and the
// source has none leave it.
void unite(const Layer& source, Layer& target, TopologyWorkspace& workspace);

// Find the source's weights from the target's connections.
void link(const Layer& source, Layer& target, TopologyWorkspace& workspace);

// Keep the target's `budget` largest magnitudes, the rest become 0; of equal ones the lower
// position stays.
void maintain(Layer& target, TopologyWorkspace& workspace);

}  // namespace edgedst
