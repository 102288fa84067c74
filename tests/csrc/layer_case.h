// One sparse layer of small whole numbers, and what each kernel has to make of it. Small whole
// numbers add up exactly in float32, in whatever order: no check here needs a tolerance. The
// expected sums come from the positions themselves, not from the packed layout: packing, both
// views and the scalar reference are checked with the rest.
#pragma once

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "memory/batch.h"
#include "numbers/random.h"
#include "sparse/layer.h"

namespace edgedst {

// -9 to 9, never 0: a term that a kernel leaves out is missed.
inline float whole_number(Random& random) {
  const float magnitude = static_cast<float>(1 + random.below(9));
  return random.below(2) ? magnitude : -magnitude;
}

// A batch whose padding shows who uses it. A kernel may go on to the end of its last vector, of 16
// lanes at most: there it finds `padding`. Beyond, NaN: it must not read that.
struct Samples {
  int rows, columns, padded, stride;
  std::vector<float> data;

  Samples(int rows, int columns, int spare_lines, float padding, Random& random)
      : rows(rows),
        columns(columns),
        padded((columns + kColumnAlignment - 1) / kColumnAlignment * kColumnAlignment),
        stride(padded + spare_lines * kColumnAlignment),
        data(static_cast<size_t>(rows) * stride, std::numeric_limits<float>::quiet_NaN()) {
    for (int r = 0; r < rows; ++r)
      for (int b = 0; b < padded; ++b) at(r, b) = b < columns ? whole_number(random) : padding;
  }
  float& at(int row, int column) { return data[static_cast<size_t>(row) * stride + column]; }
  float at(int row, int column) const { return data[static_cast<size_t>(row) * stride + column]; }
};

// Copies of a view's arrays, as long as they are: the address sanitizer sees who reads beyond.
struct View {
  int rows;
  bool plain;
  std::vector<uint32_t> column_start, weight_start;
  std::vector<uint16_t> columns;
  std::vector<float> weights;

  View(const Groups& groups, std::vector<float> weights)
      : rows(groups.rows),
        plain(groups.plain),
        column_start(groups.column_start, groups.column_start + groups.count * kPatterns + 1),
        weight_start(groups.weight_start, groups.weight_start + groups.count + 1),
        columns(groups.columns, groups.columns + column_start.back()),
        weights(std::move(weights)) {}
  int count() const { return static_cast<int>(weight_start.size()) - 1; }
  Groups groups() const {
    return {rows, count(), column_start.data(), weight_start.data(), columns.data(), plain};
  }
};

class LayerCase {
 public:
  // `positions`: row * in + column, ascending. `zero_weights`: connected, and all weights are 0.
  // `spoiled`: every fourth sample has a NaN in row 5 of x and in row 3 of dy.
  LayerCase(int in, int out, int batch, const std::vector<uint32_t>& positions, Form form,
            bool zero_weights, Random& random, bool spoiled = false)
      : in(in),
        out(out),
        batch(batch),
        // 1e30 in the padding: finite, and whatever sum it slips into is far off.
        x(in, batch, 1, 1e30f, random),
        dy(out, batch, 2, 0, random),
        y_sum(static_cast<size_t>(out) * batch),
        dx_sum(static_cast<size_t>(in) * batch),
        bias_gradient(out) {
    for (int b = 0; spoiled && b < batch; b += 4)
      x.at(5, b) = dy.at(3, b) = std::numeric_limits<float>::quiet_NaN();
    const uint32_t nnz = static_cast<uint32_t>(positions.size());
    Arena arena((1 << 14) + 64 * nnz + 256 * size_t(in + out), false);
    TopologyWorkspace workspace(arena, "workspace", nnz, in, out);
    pin_form(form);
    Layer layer(arena, "layer", in, out, nnz, Role::kLearner);
    // Packed with their ordinals as values, the weights tell where each of them went.
    for (uint32_t k = 0; k < nnz; ++k) {
      workspace.indices[k] = positions[k];
      workspace.values[k] = static_cast<float>(k);
      workspace.adam_m[k] = workspace.adam_v[k] = 0;
    }
    pack(layer, workspace, nnz);
    const std::vector<float> ordinals(layer.values, layer.values + nnz);
    slots.assign(layer.slots, layer.slots + nnz);

    std::vector<float> weight(nnz), gradient_at(nnz);
    for (float& w : weight) w = zero_weights ? 0 : whole_number(random);
    for (int row = 0; row < out; ++row) bias.push_back(whole_number(random));
    for (uint32_t k = 0; k < nnz; ++k) {
      const int row = static_cast<int>(positions[k]) / in;
      const int column = static_cast<int>(positions[k]) % in;
      for (int b = 0; b < batch; ++b) {
        y_sum[static_cast<size_t>(row) * batch + b] += weight[k] * x.at(column, b);
        dx_sum[static_cast<size_t>(column) * batch + b] += weight[k] * dy.at(row, b);
        gradient_at[k] += dy.at(row, b) * x.at(column, b);
      }
    }
    for (int row = 0; row < out; ++row)
      for (int b = 0; b < batch; ++b) bias_gradient[row] += dy.at(row, b);

    std::vector<float> weights, weights_t;
    for (float k : ordinals) {
      weights.push_back(weight[static_cast<uint32_t>(k)]);
      gradient.push_back(gradient_at[static_cast<uint32_t>(k)]);
    }
    for (uint32_t slot : slots) weights_t.push_back(weights[slot]);
    forward = std::make_unique<View>(layer.forward_view(), weights);
    transposed = std::make_unique<View>(layer.transposed_view(), weights_t);
    name = std::to_string(in) + " -> " + std::to_string(out) + ", " + std::to_string(nnz) +
           " weights, batch " + std::to_string(batch) +
           (forward->plain ? ", plain rows" : ", row groups") +
           (transposed->plain ? ", plain columns" : ", column groups");
  }

  int in, out, batch;
  Samples x, dy;
  std::vector<float> bias;
  std::vector<uint32_t> slots;
  std::unique_ptr<View> forward, transposed;
  std::vector<float> y_sum, dx_sum;  // [rows][batch], without the bias
  std::vector<float> gradient, bias_gradient;
  std::string name;
};

// What ReLU lets through, and its mask: all but 0 and below. A NaN passes (table.h says why).
inline bool relu_passes(float v) { return !(v <= 0); }

// Rows [max(first * 4, first_row), last * 4) hold the epilogue of bias + sum, and nothing else
// changes but these rows' padding.
inline void check_spmm(const Kernels& table, const LayerCase& c, bool transposed, bool with_bias,
                       Epilogue epilogue, int first, int last, int first_row) {
  const View& view = transposed ? *c.transposed : *c.forward;
  const Samples& x = transposed ? c.dy : c.x;
  const std::vector<float>& sums = transposed ? c.dx_sum : c.y_sum;
  std::vector<float> bias(with_bias ? view.rows : 0);
  for (size_t row = 0; row < bias.size(); ++row) bias[row] = static_cast<float>(1 + row % 9);
  const int stride = x.padded + kColumnAlignment;
  Guarded y(static_cast<size_t>(view.rows + kGroupRows) * stride);
  const auto old = [](int row, int b) {
    const float kinds[] = {-1, 0, 1, -0.0f, std::numeric_limits<float>::quiet_NaN()};
    return kinds[(row + b) % 5];
  };
  for (int row = 0; row < view.rows; ++row)
    for (int b = 0; b < c.batch; ++b) y.data()[static_cast<size_t>(row) * stride + b] = old(row, b);

  table.spmm(view.groups(), view.weights.data(), with_bias ? bias.data() : nullptr, x.data.data(),
             x.stride, y.data(), stride, c.batch, epilogue, first, last, first_row);

  bool right = true, others_untouched = y.guards_intact();
  for (int row = 0; row < view.rows + kGroupRows; ++row) {
    const bool written =
        row >= first * kGroupRows && row < last * kGroupRows && row >= first_row && row < view.rows;
    for (int b = 0; b < stride; ++b) {
      const float got = y[static_cast<size_t>(row) * stride + b];
      const float before = row < view.rows && b < c.batch ? old(row, b) : kCanary;
      if (!written || b >= x.padded) {
        others_untouched &= same(got, before);
      } else if (b < c.batch) {
        const float sum =
            (with_bias ? bias[row] : 0) + sums[static_cast<size_t>(row) * c.batch + b];
        const bool passes = epilogue == Epilogue::kLinear ||
                            relu_passes(epilogue == Epilogue::kRelu ? sum : before);
        right &= same(got, passes ? sum : 0);
      }
    }
  }
  const char* const epilogues[] = {"linear", "relu", "relu mask"};
  const char* what = transposed ? "spmm of the transposed view" : "spmm";
  const char* end = epilogues[static_cast<int>(epilogue)];
  expect(right, "%s %s, %s, groups [%d, %d), rows from %d: %s", table.name, what, end, first, last,
         first_row, c.name.c_str());
  expect(others_untouched, "%s %s wrote elsewhere, %s, groups [%d, %d), rows from %d: %s",
         table.name, what, end, first, last, first_row, c.name.c_str());
}

// The gradients of groups [first, last); the others are another thread's.
inline void check_sddmm(const Kernels& table, const LayerCase& c, int first, int last) {
  const View& view = *c.forward;
  Guarded gradient(view.weights.size()), bias_gradient(view.rows);
  table.sddmm(view.groups(), c.x.data.data(), c.x.stride, c.dy.data.data(), c.dy.stride, c.batch,
              gradient.data(), bias_gradient.data(), first, last);
  bool right = true, bias_right = true;
  bool others_untouched = gradient.guards_intact() && bias_gradient.guards_intact();
  for (uint32_t w = 0; w < gradient.size(); ++w) {
    if (w >= view.weight_start[first] && w < view.weight_start[last])
      right &= same(gradient[w], c.gradient[w]);
    else
      others_untouched &= gradient[w] == kCanary;
  }
  for (int row = 0; row < view.rows; ++row) {
    if (row >= first * kGroupRows && row < last * kGroupRows)
      bias_right &= same(bias_gradient[row], c.bias_gradient[row]);
    else
      others_untouched &= bias_gradient[row] == kCanary;
  }
  expect(right, "%s sddmm, groups [%d, %d): %s", table.name, first, last, c.name.c_str());
  expect(bias_right, "%s sddmm's bias gradient, groups [%d, %d): %s", table.name, first, last,
         c.name.c_str());
  expect(others_untouched, "%s sddmm wrote elsewhere, groups [%d, %d): %s", table.name, first, last,
         c.name.c_str());
}

// Both backward products of rows [first * 4, last * 4) of x, or the gradient alone; only of plain
// rows.
inline void check_spmm_t_sddmm(const Kernels& table, const LayerCase& c, bool both, int first,
                               int last) {
  const View& view = *c.transposed;
  if (!view.plain) return;
  Samples x = c.x;
  Guarded gradient(view.weights.size()), dx_sums(view.rows);
  table.spmm_t_sddmm(view.groups(), c.forward->weights.data(), c.slots.data(), x.data.data(),
                     x.stride, c.dy.data.data(), c.dy.stride, c.batch, gradient.data(),
                     both ? dx_sums.data() : nullptr, first, last);
  bool right = true, others_untouched = gradient.guards_intact() && dx_sums.guards_intact();
  for (uint32_t w = 0; w < gradient.size(); ++w) {
    const float got = gradient[c.slots[w]];
    if (w >= view.weight_start[first] && w < view.weight_start[last])
      right &= same(got, c.gradient[c.slots[w]]);
    else
      others_untouched &= got == kCanary;
  }
  for (int row = 0; row < view.rows; ++row) {
    const bool written = both && row >= first * kGroupRows && row < last * kGroupRows;
    float dx_sum = 0;
    for (int b = 0; b < x.stride; ++b) {
      const float before = c.x.at(row, b), sum = c.dx_sum[size_t(row) * c.batch + b % c.batch];
      if (!written || b >= x.padded)
        others_untouched &= same(x.at(row, b), before);
      else if (b < c.batch)
        right &= same(x.at(row, b), relu_passes(before) ? sum : 0);
      if (b < c.batch) dx_sum += relu_passes(before) ? sum : 0;
    }
    right &= same(dx_sums[row], written ? dx_sum : kCanary);
  }
  expect(right, "%s spmm_t_sddmm, groups [%d, %d): %s", table.name, first, last, c.name.c_str());
  expect(others_untouched, "%s spmm_t_sddmm wrote elsewhere, groups [%d, %d): %s", table.name,
         first, last, c.name.c_str());
}

// The batch's first sample alone.
inline void check_spmv(const Kernels& table, const LayerCase& c, Epilogue epilogue) {
  const View& view = *c.forward;
  // spmv loads four weights at once. Those beyond the last are in the arena, and no result of it.
  std::vector<float> weights = view.weights;
  weights.resize(weights.size() + 3, std::numeric_limits<float>::quiet_NaN());
  std::vector<float> x(c.in);
  for (int i = 0; i < c.in; ++i) x[i] = c.x.at(i, 0);
  Guarded y(view.rows);
  table.spmv(view.groups(), weights.data(), c.bias.data(), x.data(), y.data(), epilogue);
  bool right = true;
  for (int row = 0; row < view.rows; ++row) {
    const float sum = c.bias[row] + c.y_sum[static_cast<size_t>(row) * c.batch];
    right &= same(y[row], epilogue == Epilogue::kLinear || relu_passes(sum) ? sum : 0);
  }
  expect(right && y.guards_intact(), "%s spmv: %s", table.name, c.name.c_str());
}

// The transposed view's weights of groups [first, last), as a backward pass gathers them.
inline void check_gather(const Kernels& table, const LayerCase& c, int first, int last) {
  const View& view = *c.transposed;
  const uint32_t start = view.weight_start[first], count = view.weight_start[last] - start;
  Guarded gathered(count);
  table.gather(c.forward->weights.data(), c.slots.data() + start, count, gathered.data());
  bool right = true;
  for (uint32_t i = 0; i < count; ++i) right &= gathered[i] == view.weights[start + i];
  expect(right && gathered.guards_intact(), "%s gather, groups [%d, %d): %s", table.name, first,
         last, c.name.c_str());
}

}  // namespace edgedst
