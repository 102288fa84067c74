// A network of small whole numbers on the training path, against dense matrices: forward, backward,
// act, the first step of Adam, Polyak with the target's pruning, evolution. Weights up to 2, inputs
// up to 3, 40 units a layer, 3 layers and 256 samples stay below 2^24 in every sum: float32 holds
// them exactly, so that no comparison but Adam's needs a tolerance.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "check.h"
#include "sparse/network.h"

namespace edgedst {

struct DenseMatrix {
  int rows, columns;
  std::vector<double> values;
  DenseMatrix(int rows, int columns)
      : rows(rows), columns(columns), values(static_cast<size_t>(rows) * columns) {}
  double& at(int row, int column) { return values[static_cast<size_t>(row) * columns + column]; }
  double at(int row, int column) const {
    return values[static_cast<size_t>(row) * columns + column];
  }
};

struct DenseLayer {
  DenseMatrix weights;
  std::vector<double> bias;
};

class NetworkCase {
 public:
  static constexpr int kMostUnits = 40, kMostLayers = 3, kMostSamples = 256;

  NetworkCase(std::string name, const std::vector<int>& sizes, const std::vector<uint32_t>& nnz,
              int batch, Random& random)
      : name_(std::move(name)),
        sizes_(sizes),
        batch_(batch),
        random_(random),
        arena_(8u << 20, false),
        workspace_(arena_, "workspace", kMostUnits * kMostUnits, kMostUnits, kMostUnits),
        network_(arena_, "network", sizes, nnz, false, Role::kLearner),
        target_(arena_, "target", sizes, nnz, false, Role::kAveraged),
        activations_(arena_, "activations", sizes, batch),
        one_activation_(arena_, "one activation", sizes, 1),
        gradients_(arena_, "gradients", network_.parameter_count()) {
    network_.initialise(random, workspace_);
    draw_weights();
    target_.copy_from(network_, workspace_);
  }

  void run(int rounds) {
    DenseMatrix none(0, 0);
    std::vector<DenseLayer> averages = read(target_);
    for (int round = 0; round < rounds; ++round) {
      draw_weights();
      check_passes();
      check_act();
      check_polyak(averages);
      if (round + 1 < rounds) network_.evolve(random_, 0.25 * random_.below(4), workspace_);
    }
    check_adam();
  }

 private:
  int whole(int most) {
    const int v = 1 + static_cast<int>(random_.below(most));
    return random_.below(2) ? v : -v;
  }

  void draw_weights() {
    for (Layer& layer : network_.layers) {
      for (uint32_t k = 0; k < layer.nnz; ++k)
        layer.values[k] = static_cast<float>(random_.below(8) ? whole(2) : 0);
      for (int row = 0; row < layer.out; ++row) layer.bias[row] = static_cast<float>(whole(2));
    }
  }

  // unpack() tells where each weight lies, so nothing here knows the packed layout.
  std::vector<DenseLayer> read(const Network& network) {
    std::vector<DenseLayer> dense;
    for (const Layer& layer : network.layers) {
      dense.push_back({{layer.out, layer.in}, {layer.bias, layer.bias + layer.out}});
      const uint32_t nnz = unpack(layer, workspace_);
      for (uint32_t k = 0; k < nnz; ++k)
        dense.back().weights.values[workspace_.indices[k]] = workspace_.values[k];
    }
    return dense;
  }

  // The position of each packed weight: unpacked with their places as values, they tell it.
  std::vector<uint32_t> positions(Layer& layer) {
    const std::vector<float> values(layer.values, layer.values + layer.nnz);
    std::iota(layer.values, layer.values + layer.nnz, 0.0f);
    unpack(layer, workspace_);
    std::copy(values.begin(), values.end(), layer.values);
    std::vector<uint32_t> position(layer.nnz);
    for (uint32_t k = 0; k < layer.nnz; ++k)
      position[static_cast<uint32_t>(workspace_.values[k])] = workspace_.indices[k];
    return position;
  }

  // A batch with canary rows on both sides. `padding` is what follows the samples in each row.
  Batch take(int rows, float padding, DenseMatrix* samples) {
    const int stride = row_stride(batch_), all = rows + 2 * kGuardRows;
    float* data = rows_.emplace_back(static_cast<size_t>(all) * stride, kCanary).data();
    const Batch batch = {data + kGuardRows * stride, rows, batch_, stride};
    for (int row = 0; row < rows; ++row) {
      std::fill_n(batch.row(row), stride, padding);
      if (!samples) continue;
      for (int b = 0; b < batch_; ++b)
        batch.row(row)[b] = static_cast<float>(samples->at(row, b) = whole(3));
    }
    return batch;
  }

  bool guards_intact(const Batch& batch) const {
    const size_t guard = static_cast<size_t>(kGuardRows) * batch.stride;
    const float *begin = batch.data - guard, *end = batch.row(batch.rows);
    return std::count(begin, begin + guard, kCanary) == static_cast<ptrdiff_t>(guard) &&
           std::count(end, end + guard, kCanary) == static_cast<ptrdiff_t>(guard);
  }

  bool equal(const Batch& got, const DenseMatrix& want, int first_row) const {
    bool same = guards_intact(got);
    for (int row = 0; row < got.rows; ++row)
      for (int b = 0; b < batch_; ++b) same &= got.row(row)[b] == want.at(first_row + row, b);
    return same;
  }

  void check_passes() {
    rows_.clear();
    const std::vector<DenseLayer> dense = read(network_);
    DenseMatrix x(sizes_.front(), batch_), dy(sizes_.back(), batch_);
    const int first_row = static_cast<int>(random_.below(sizes_.front()));
    // The inputs' padding is any finite number, an output gradient's is 0.
    const Batch x_batch = take(x.rows, 1e30f, &x), y_batch = take(dy.rows, 0, nullptr),
                dy_batch = take(dy.rows, 0, &dy),
                dx_batch = take(sizes_.front() - first_row, 0, nullptr);

    std::vector<DenseMatrix> inputs = {x};
    for (size_t l = 0; l < dense.size(); ++l) {
      DenseMatrix y = product(dense[l], inputs.back());
      if (l + 1 < dense.size())
        for (double& v : y.values) v = std::max(v, 0.0);
      inputs.push_back(y);
    }
    network_.forward(x_batch, activations_, y_batch);
    check(equal(y_batch, inputs.back(), 0), "forward");

    std::fill_n(gradients_.data, gradients_.count, kCanary);
    const bool with_gradients = random_.below(4) > 0, with_dx = !with_gradients || random_.below(2);
    network_.backward(x_batch, activations_, y_batch, dy_batch,
                      with_gradients ? &gradients_ : nullptr, with_dx ? &dx_batch : nullptr,
                      first_row, workspace_);
    std::vector<float> gradient(gradients_.count, kCanary);
    DenseMatrix d = dy;
    size_t end = gradient.size();
    for (size_t l = dense.size(); l-- > 0;) {
      Layer& layer = network_.layers[l];
      end -= layer.nnz + layer.out;
      if (with_gradients) write_gradient(layer, inputs[l], d, gradient.data() + end);
      d = transposed_product(dense[l], d);
      if (l == 0) break;
      for (size_t i = 0; i < d.values.size(); ++i)
        if (inputs[l].values[i] <= 0) d.values[i] = 0;
    }
    check(std::equal(gradient.begin(), gradient.end(), gradients_.data), "backward's gradients");
    if (with_dx) check(equal(dx_batch, d, first_row), "backward's dx");
  }

  static DenseMatrix product(const DenseLayer& layer, const DenseMatrix& x) {
    DenseMatrix y(layer.weights.rows, x.columns);
    for (int row = 0; row < y.rows; ++row) {
      for (int b = 0; b < y.columns; ++b) y.at(row, b) = layer.bias[row];
      for (int i = 0; i < x.rows; ++i)
        for (int b = 0; b < y.columns; ++b) y.at(row, b) += layer.weights.at(row, i) * x.at(i, b);
    }
    return y;
  }

  static DenseMatrix transposed_product(const DenseLayer& layer, const DenseMatrix& dy) {
    DenseMatrix dx(layer.weights.columns, dy.columns);
    for (int row = 0; row < dy.rows; ++row)
      for (int i = 0; i < dx.rows; ++i)
        for (int b = 0; b < dy.columns; ++b)
          dx.at(i, b) += layer.weights.at(row, i) * dy.at(row, b);
    return dx;
  }

  void write_gradient(Layer& layer, const DenseMatrix& x, const DenseMatrix& dy, float* gradient) {
    const std::vector<uint32_t> position = positions(layer);
    for (uint32_t k = 0; k < layer.nnz; ++k) {
      double sum = 0;
      for (int b = 0; b < batch_; ++b)
        sum += dy.at(position[k] / layer.in, b) * x.at(position[k] % layer.in, b);
      gradient[k] = static_cast<float>(sum);
    }
    for (int row = 0; row < layer.out; ++row) {
      double sum = 0;
      for (int b = 0; b < batch_; ++b) sum += dy.at(row, b);
      gradient[layer.nnz + row] = static_cast<float>(sum);
    }
  }

  void check_act() {
    DenseMatrix x(sizes_.front(), 1);
    for (double& v : x.values) v = whole(3);
    Guarded action(sizes_.back());
    network_.act(x.values.data(), action.data(), one_activation_);
    const std::vector<DenseLayer> dense = read(network_);
    DenseMatrix y = x;
    for (size_t l = 0; l < dense.size(); ++l) {
      y = product(dense[l], y);
      if (l + 1 < dense.size())
        for (double& v : y.values) v = std::max(v, 0.0);
    }
    bool right = action.guards_intact();
    for (int i = 0; i < y.rows; ++i) right &= action[i] == y.at(i, 0);
    check(right, "act");
  }

  // Algorithm 3 of Sokar et al. 2022 on dense matrices. tau = 1/2 halves whole numbers: exact.
  void check_polyak(std::vector<DenseLayer>& averages) {
    constexpr double kTau = 0.5;
    target_.polyak_update(network_, static_cast<float>(kTau), workspace_);
    const std::vector<DenseLayer> source = read(network_), got = read(target_);
    for (size_t l = 0; l < averages.size(); ++l) {
      std::vector<double>& average = averages[l].weights.values;
      for (size_t i = 0; i < average.size(); ++i)
        average[i] = kTau * source[l].weights.values[i] + (1 - kTau) * average[i];
      for (size_t i = 0; i < averages[l].bias.size(); ++i)
        averages[l].bias[i] = kTau * source[l].bias[i] + (1 - kTau) * averages[l].bias[i];
      std::vector<uint32_t> ranked(average.size());
      std::iota(ranked.begin(), ranked.end(), 0u);
      std::stable_sort(ranked.begin(), ranked.end(), [&average](uint32_t a, uint32_t b) {
        return std::fabs(average[a]) > std::fabs(average[b]);
      });
      for (size_t i = target_.layers[l].budget; i < ranked.size(); ++i) average[ranked[i]] = 0;
      check(got[l].weights.values == average && got[l].bias == averages[l].bias, "polyak_update");
    }
  }

  // From moments of 0, each weight goes by the learning rate against its gradient's sign.
  void check_adam() {
    constexpr double kRate = 0.25;
    for (size_t i = 0; i < gradients_.count; ++i)
      gradients_.data[i] = static_cast<float>(random_.below(4) ? whole(9) : 0);
    std::vector<std::vector<float>> before;
    for (const Layer& layer : network_.layers) {
      before.emplace_back(layer.values, layer.values + layer.nnz);
      before.emplace_back(layer.bias, layer.bias + layer.out);
    }
    network_.adam_step(gradients_, 1, kRate, 0, 0.9);
    const float* gradient = gradients_.data;
    bool right = true;
    for (size_t i = 0; i < before.size(); ++i) {
      const Layer& layer = network_.layers[i / 2];
      const float* after = i % 2 ? layer.bias : layer.values;
      for (size_t k = 0; k < before[i].size(); ++k, ++gradient) {
        const double step = *gradient > 0 ? kRate : *gradient < 0 ? -kRate : 0;
        // Some roundings of the step, and one of the sum.
        right &= std::fabs(after[k] - (before[i][k] - step)) <= 2e-6;
      }
    }
    check(right, "adam_step");
  }

  void check(bool ok, const char* what) const { expect(ok, "%s: %s", what, name_.c_str()); }

  static constexpr int kGuardRows = 4;

  std::string name_;
  std::vector<int> sizes_;
  int batch_;
  Random& random_;
  Arena arena_;
  TopologyWorkspace workspace_;
  Network network_, target_;
  Activations activations_, one_activation_;
  Gradients gradients_;
  std::vector<std::vector<float>> rows_;
};

}  // namespace edgedst
