#include "bind/checks.h"

#include <algorithm>
#include <stdexcept>

namespace edgedst {
namespace {

constexpr int kMostFeatures = 65535;  // columns are stored in 16 bits

}  // namespace

Layer& layer_of(Network& network, int layer) {
  EDGEDST_CHECK(layer >= 0 && layer < static_cast<int>(network.layers.size()),
                network.name + " has layers 0 to " + std::to_string(network.layers.size() - 1) +
                    ", got " + std::to_string(layer) + ".");
  return network.layers[layer];
}

void check_workspace(const Network& network, const TopologyWorkspace& workspace) {
  for (const Layer& layer : network.layers) {
    EDGEDST_CHECK(
        workspace.capacity >= layer.capacity && workspace.width >= std::max(layer.in, layer.out),
        "the workspace holds " + std::to_string(workspace.capacity) + " weights of at most " +
            std::to_string(workspace.width) + " features; " + network.name + " needs " +
            std::to_string(layer.capacity) + " and " +
            std::to_string(std::max(layer.in, layer.out)) + ".");
  }
}

void check_trainable(const Network& network) {
  EDGEDST_CHECK(network.layers.front().adam_m != nullptr,
                network.name + " is a target network: it has no moments and no gradients.");
}

void check_pair(const Network& source, const Network& target, const TopologyWorkspace& workspace) {
  EDGEDST_CHECK(source.sizes == target.sizes,
                "target " + target.name + " and source " + source.name + " differ in layer sizes.");
  EDGEDST_CHECK(target.layers.front().role != Role::kLearner,
                target.name + " is not a target network (make it with target=True).");
  for (size_t l = 0; l < target.layers.size(); ++l)
    EDGEDST_CHECK(source.layers[l].budget == target.layers[l].budget,
                  "target " + target.name + " and source " + source.name +
                      " differ in nnz of layer " + std::to_string(l) + ".");
  check_workspace(target, workspace);
}

void check_rows(const char* what, const Batch& batch, int rows, const Network& network) {
  EDGEDST_CHECK(batch.rows == rows, std::string(what) + " of " + network.name + " has " +
                                        std::to_string(batch.rows) + " features (shape " +
                                        batch.shape() + "), the network has " +
                                        std::to_string(rows) + ".");
}

void check_pass(const Network& network, const Batch& x, const Activations& activations,
                const Batch& y) {
  EDGEDST_CHECK(activations.sizes == network.sizes,
                "activations were made for other layer sizes than those of " + network.name + ".");
  const bool without = !activations.hidden.empty() && !activations.hidden.front().data;
  EDGEDST_CHECK(network.layers.front().values && !without,
                network.name + " or its activations are on a measuring arena and have no memory.");
  EDGEDST_CHECK(network.batch_norm() || activations.normal.empty(),
                network.name + " has no batch normalisation: activations must be without.");
  check_rows("x", x, network.sizes.front(), network);
  check_rows("y", y, network.sizes.back(), network);
  const int columns = activations.hidden.empty() ? x.columns : activations.hidden.front().columns;
  EDGEDST_CHECK(x.columns == columns && y.columns == columns,
                network.name + ": x " + x.shape() + " and y " + y.shape() +
                    " must have the columns of the activations, " + std::to_string(columns) + ".");
}

void check_gradients(const Network& network, const Gradients& gradients) {
  EDGEDST_CHECK(gradients.count >= network.parameter_count(),
                network.name + " has " + std::to_string(network.parameter_count()) +
                    " parameters, the gradients have room for " + std::to_string(gradients.count) +
                    ".");
}

void check_layers(const std::string& name, const std::vector<int>& sizes,
                  const std::vector<int64_t>& nnz) {
  EDGEDST_CHECK(sizes.size() >= 2 && nnz.size() + 1 == sizes.size(),
                name + ": expected one nnz for each layer between two sizes, got " +
                    std::to_string(sizes.size()) + " sizes and " + std::to_string(nnz.size()) +
                    " nnz.");
  for (size_t l = 0; l < nnz.size(); ++l) {
    for (int features : {sizes[l], sizes[l + 1]})
      EDGEDST_CHECK(features >= 1 && features <= kMostFeatures,
                    name + ": a layer has 1 to " + std::to_string(kMostFeatures) +
                        " features, got " + std::to_string(features) + ".");
    const int64_t all = static_cast<int64_t>(sizes[l]) * sizes[l + 1];
    EDGEDST_CHECK(nnz[l] >= 1 && nnz[l] <= all && all <= 0xfffffffe,
                  name + ": layer " + std::to_string(l) + " has room for 1 to " +
                      std::to_string(all) + " weights, got " + std::to_string(nnz[l]) + ".");
  }
}

}  // namespace edgedst
