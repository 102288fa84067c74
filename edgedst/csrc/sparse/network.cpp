#include "sparse/network.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "sparse/topology.h"
#include "system/threads.h"

namespace edgedst {
namespace {

// parallel_for over an array's elements, in whole cache lines: vectors and their remainder fall
// alike for every number of threads.
template <class Body>
void parallel_for_lines(uint32_t count, const Body& body) {
  constexpr uint32_t kLine = 16;
  parallel_for(static_cast<int>((count + kLine - 1) / kLine),
               [&](int begin, int end) { body(begin * kLine, std::min(end * kLine, count)); });
}

}  // namespace

Activations::Activations(Arena& arena, const std::string& name, const std::vector<int>& sizes,
                         int columns, bool batch_statistics, std::optional<size_t> over)
    : sizes(sizes) {
  const int stride = row_stride(columns);
  const Arena::Over place(arena, over.value_or(arena.used_bytes()));
  if (columns == 1) sample = arena.take<float>(name + ".observation", sizes.front());
  for (size_t l = 1; l + 1 < sizes.size(); ++l) {
    float* data = arena.take<float>(name + "." + std::to_string(l), size_t(sizes[l]) * stride);
    hidden.push_back({data, sizes[l], columns, stride});
    if (!batch_statistics) continue;
    data = arena.take<float>(name + ".normal." + std::to_string(l), size_t(sizes[l]) * stride);
    normal.push_back({data, sizes[l], columns, stride});
  }
}

Gradients::Gradients(Arena& arena, const std::string& name, size_t count)
    : data(arena.take<float>(name, count)), count(count) {}

Network::Network(Arena& arena, const std::string& name, const std::vector<int>& sizes,
                 const std::vector<uint32_t>& nnz, bool tanh_output, Role role, bool batch_norm)
    : name(name),
      sizes(sizes),
      tanh_output_(tanh_output),
      batch_norm_(batch_norm && nnz.size() > 1),
      version_(std::make_shared<uint64_t>(0)) {
  layers.reserve(nnz.size());
  for (size_t l = 0; l < nnz.size(); ++l)
    layers.emplace_back(arena, name + "." + std::to_string(l), sizes[l], sizes[l + 1], nnz[l], role,
                        batch_norm && l + 1 < nnz.size());
}

void Network::initialise(Random& random, TopologyWorkspace& workspace) {
  for (Layer& layer : layers) edgedst::initialise(layer, random, workspace);
  ++*version_;
}

void Network::pack(int layer, TopologyWorkspace& workspace, uint32_t nnz) {
  edgedst::pack(layers[layer], workspace, nnz);
  ++*version_;
}

void Network::copy_from(const Network& source, TopologyWorkspace& workspace) {
  for (size_t l = 0; l < layers.size(); ++l) {
    edgedst::pack(layers[l], workspace, unpack(source.layers[l], workspace));
    std::copy_n(source.layers[l].bias, layers[l].out, layers[l].bias);
  }
  link(source, true, workspace);
}

void Network::link(const Network& source, bool linked, TopologyWorkspace& workspace) {
  source_version_ = source.version_;
  linked_version_ = *source.version_ - !linked;
  // Only averaging looks for the source's weights.
  if (!linked || layers.front().role != Role::kAveraged) return;
  for (size_t l = 0; l < layers.size(); ++l) edgedst::link(source.layers[l], layers[l], workspace);
}

void Network::forward(const Batch& x, Activations& activations, const Batch& y) {
  const Batch* input = &x;
  for (size_t l = 0; l < layers.size(); ++l) {
    const Layer& layer = layers[l];
    const bool last = l + 1 == layers.size(), linear = last || layer.running_mean;
    const Batch& output = last ? y : activations.hidden[l];
    const float* bias = layer.running_mean ? nullptr : layer.bias;  // else it comes behind
    const Groups groups = layer.forward_view();
    parallel_for(groups.count, [&](int begin, int end) {
      kernels().spmm(groups, layer.values, bias, input->data, input->stride, output.data,
                     output.stride, output.columns, linear ? Epilogue::kLinear : Epilogue::kRelu,
                     begin, end, 0);
    });
    if (layer.running_mean) {
      float* normal = activations.normal.empty() ? nullptr : activations.normal[l].data;
      parallel_for(layer.out, [&](int begin, int end) {
        kernels().batch_norm(output.data, normal, output.stride, output.columns, layer.bias,
                             layer.running_mean, layer.running_variance, layer.inverse, begin, end);
      });
    }
    input = &output;
  }
  if (!tanh_output_) return;
  kernels().tanh(y.data, static_cast<size_t>(y.rows) * y.stride);
}

namespace {

// The layer's weight gradient. With `dx_sums`, the activations that it had as input become their
// gradient, whose sums over the batch are the bias gradient of the layer below.
void backward_in_one_pass(const Layer& layer, const Batch& x, const Batch& d_output,
                          float* gradient, float* dx_sums) {
  const Groups groups = layer.transposed_view();
  parallel_for(groups.count, [&](int begin, int end) {
    kernels().spmm_t_sddmm(groups, layer.values, layer.slots, x.data, x.stride, d_output.data,
                           d_output.stride, d_output.columns, gradient, dx_sums, begin, end);
  });
}

}  // namespace

void Network::backward(const Batch& x, Activations& activations, const Batch& y, const Batch& dy,
                       Gradients* gradients, const Batch* dx, int dx_first_row,
                       TopologyWorkspace& workspace) {
  if (tanh_output_) {
    for (int i = 0; i < y.rows * y.stride; ++i) dy.data[i] *= 1 - y.data[i] * y.data[i];
  }
  float* gradient = gradients ? gradients->data + parameter_count() : nullptr;
  bool have_bias_gradient = false;
  const Batch* d_output = &dy;
  for (size_t l = layers.size(); l-- > 0;) {
    const Layer& layer = layers[l];
    const Batch& input = l == 0 ? x : activations.hidden[l - 1];
    if (gradients) gradient -= layer.nnz + layer.out;
    if (layer.running_mean) {
      float* sums = gradients ? gradient + layer.nnz : nullptr;
      if (sums && !have_bias_gradient)
        kernels().row_sums(d_output->data, d_output->stride, d_output->columns, 0, layer.out, sums);
      have_bias_gradient = true;
      const float* normal = activations.normal.empty() ? nullptr : activations.normal[l].data;
      parallel_for(layer.out, [&](int begin, int end) {
        kernels().batch_norm_back(d_output->data, normal, d_output->stride, d_output->columns,
                                  layer.inverse, sums, begin, end);
      });
    }
    if (gradients && layer.plain_t && (l > 0 || !dx)) {
      if (!have_bias_gradient)
        kernels().row_sums(d_output->data, d_output->stride, d_output->columns, 0, layer.out,
                           gradient + layer.nnz);
      // The layer below has its biases right before this one's weights.
      backward_in_one_pass(layer, input, *d_output, gradient,
                           l > 0 ? gradient - layers[l - 1].out : nullptr);
      have_bias_gradient = true;
      d_output = &input;
      continue;
    }
    if (gradients) {
      float* bias_gradient = have_bias_gradient ? nullptr : gradient + layer.nnz;
      const Groups groups = layer.forward_view();
      parallel_for(groups.count, [&](int begin, int end) {
        kernels().sddmm(groups, input.data, input.stride, d_output->data, d_output->stride,
                        d_output->columns, gradient, bias_gradient, begin, end);
      });
    }
    have_bias_gradient = false;
    if (l == 0 && !dx) break;
    const Groups groups = layer.transposed_view();
    // A hidden layer's activations are read for the last time here, as the ReLU's mask, and become
    // its gradient.
    float* d_input = l > 0 ? input.data : dx->data - size_t(dx_first_row) * dx->stride;
    const int first_row = l > 0 ? 0 : dx_first_row;
    const int skipped = first_row / kGroupRows;
    float* weights = workspace.transposed_weights();
    parallel_for(groups.count - skipped, [&](int begin, int end) {
      const uint32_t start = groups.weight_start[skipped + begin];
      kernels().gather(layer.values, layer.slots + start,
                       groups.weight_start[skipped + end] - start, weights + start);
      kernels().spmm(groups, weights, nullptr, d_output->data, d_output->stride, d_input,
                     input.stride, input.columns, l > 0 ? Epilogue::kReluMask : Epilogue::kLinear,
                     skipped + begin, skipped + end, first_row);
    });
    d_output = &input;
  }
}

void Network::adam_step(const Gradients& gradients, int64_t step, double learning_rate,
                        double weight_decay, double beta_1) {
  constexpr double beta_2 = 0.999, epsilon = 1e-8;
  const AdamStep adam = {
      static_cast<float>(beta_1),
      static_cast<float>(beta_2),
      static_cast<float>(epsilon),
      static_cast<float>(weight_decay),
      static_cast<float>(1 - beta_1),
      static_cast<float>(1 - beta_2),
      static_cast<float>(learning_rate / (1 - std::pow(beta_1, static_cast<double>(step)))),
      static_cast<float>(std::sqrt(1 - std::pow(beta_2, static_cast<double>(step))))};
  const float* gradient = gradients.data;
  for (Layer& layer : layers) {
    parallel_for_lines(layer.nnz, [&](uint32_t begin, uint32_t end) {
      kernels().adam(layer.values + begin, layer.adam_m + begin, layer.adam_v + begin,
                     gradient + begin, end - begin, adam);
    });
    gradient += layer.nnz;
    kernels().adam(layer.bias, layer.bias_adam_m, layer.bias_adam_v, gradient, layer.out, adam);
    gradient += layer.out;
  }
}

uint32_t Network::evolve(Random& random, double drop_fraction, TopologyWorkspace& workspace) {
  uint32_t moved = 0;
  for (Layer& layer : layers) {
    if (!layer.dense()) moved += edgedst::evolve(layer, drop_fraction, random, workspace);
  }
  ++*version_;
  return moved;
}

void Network::act(const double* observation, float* action, Activations& activations) const {
  for (int i = 0; i < sizes.front(); ++i)
    activations.sample[i] = static_cast<float>(observation[i]);
  const float* input = activations.sample;
  for (size_t l = 0; l < layers.size(); ++l) {
    const bool last = l + 1 == layers.size();
    float* output = last ? action : activations.hidden[l].data;
    kernels().spmv(layers[l].forward_view(), layers[l].values, layers[l].bias, input, output,
                   last ? Epilogue::kLinear : Epilogue::kRelu);
    input = output;
  }
  if (!tanh_output_) return;
  kernels().tanh(action, sizes.back());
}

void Network::polyak_update(const Network& source, float tau, TopologyWorkspace& workspace) {
  if (source_version_ != source.version_ || !linked()) {
    for (size_t l = 0; l < layers.size(); ++l) unite(source.layers[l], layers[l], workspace);
    source_version_ = source.version_;
    linked_version_ = *source.version_;
  }
  for (size_t l = 0; l < layers.size(); ++l) {
    const Layer& from = source.layers[l];
    Layer& to = layers[l];
    parallel_for_lines(to.nnz, [&](uint32_t begin, uint32_t end) {
      kernels().polyak(to.values + begin, from.values, to.source + begin, end - begin, tau);
    });
    for (int row = 0; row < to.out; ++row)
      to.bias[row] = tau * from.bias[row] + (1 - tau) * to.bias[row];
    maintain(to, workspace);
  }
}

size_t Network::parameter_count() const {
  size_t count = 0;
  for (const Layer& layer : layers) count += layer.budget + layer.out;
  return count;
}

}  // namespace edgedst
