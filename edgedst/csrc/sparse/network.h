// A multilayer perceptron of packed sparse layers: ReLU between them, a linear or tanh output.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/batch.h"
#include "numbers/random.h"
#include "sparse/layer.h"

namespace edgedst {

// Hidden activations of one pass. `backward` turns them into gradients in place. With `over`, an
// offset in the arena, they lie over the regions from there on, which nobody needs meanwhile.
struct Activations {
  Activations(Arena& arena, const std::string& name, const std::vector<int>& sizes, int columns,
              bool batch_statistics = false, std::optional<size_t> over = {});
  std::vector<int> sizes;
  std::vector<Batch> hidden;
  std::vector<Batch> normal;  // with batch_statistics: what batch normalisation makes of each batch
  float* sample = nullptr;    // columns = 1: the observation as float32
};

struct Gradients {
  Gradients(Arena& arena, const std::string& name, size_t count);
  float* data;
  size_t count;
};

class Network {
 public:
  Network(Arena& arena, const std::string& name, const std::vector<int>& sizes,
          const std::vector<uint32_t>& nnz, bool tanh_output, Role role, bool batch_norm = false);

  void initialise(Random& random, TopologyWorkspace& workspace);
  void copy_from(const Network& source, TopologyWorkspace& workspace);
  // A network with batch normalisation takes a mini-batch's own statistics where the activations
  // have room for what comes of them, and moves the running ones; else it takes those.
  void forward(const Batch& x, Activations& activations, const Batch& y);
  // `gradients` null: only dx. `dx` null: only the gradients. dx holds the input rows from
  // dx_first_row on. Of the workspace it uses `transposed_weights`.
  void backward(const Batch& x, Activations& activations, const Batch& y, const Batch& dy,
                Gradients* gradients, const Batch* dx, int dx_first_row,
                TopologyWorkspace& workspace);
  void adam_step(const Gradients& gradients, int64_t step, double learning_rate,
                 double weight_decay, double beta_1);
  uint32_t evolve(Random& random, double drop_fraction, TopologyWorkspace& workspace);
  void act(const double* observation, float* action, Activations& activations) const;
  void polyak_update(const Network& source, float tau, TopologyWorkspace& workspace);
  // After packing a target from a checkpoint: find its source's weights, unless it was not linked
  // when saved.
  void link(const Network& source, bool linked, TopologyWorkspace& workspace);
  void pack(int layer, TopologyWorkspace& workspace, uint32_t nnz);
  // A target: no evolution of its source has come since the union of both was made.
  bool linked() const { return source_version_ && *source_version_ == linked_version_; }
  size_t parameter_count() const;
  bool batch_norm() const { return batch_norm_; }

  std::string name;
  std::vector<int> sizes;
  std::vector<Layer> layers;

 private:
  bool tanh_output_, batch_norm_;
  std::shared_ptr<uint64_t> version_;  // of the topology: evolve, initialise and pack move it
  std::shared_ptr<const uint64_t> source_version_;
  uint64_t linked_version_ = 0;
};

}  // namespace edgedst
