// What the bindings ask of networks and workspaces before the core touches memory. Each throws
// std::invalid_argument, Python's ValueError, with a sentence that says what came.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "sparse/network.h"

namespace edgedst {

// A macro, so that the sentence is put together only where it is needed: as arguments of a function
// the sentences took a twentieth of an update at 95 % sparsity, and allocated memory in each call.
#define EDGEDST_CHECK(ok, sentence)                   \
  do {                                                \
    if (!(ok)) throw std::invalid_argument(sentence); \
  } while (false)

// Sizes of a network's layer boundaries and the connections of each layer between two of them.
void check_layers(const std::string& name, const std::vector<int>& sizes,
                  const std::vector<int64_t>& nnz);
void check_trainable(const Network& network);
void check_workspace(const Network& network, const TopologyWorkspace& workspace);
void check_pair(const Network& source, const Network& target, const TopologyWorkspace& workspace);
void check_rows(const char* what, const Batch& batch, int rows, const Network& network);
void check_pass(const Network& network, const Batch& x, const Activations& activations,
                const Batch& y);
void check_gradients(const Network& network, const Gradients& gradients);
Layer& layer_of(Network& network, int layer);

}  // namespace edgedst
