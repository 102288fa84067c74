/* Every place has a weight. */
static void sum_full(const layer_t *layer, const float *x, float *y) {
  const weight_t *value = layer->values;
  for (int32_t row = 0; row < layer->outputs; row++) {
    float even = 0.0f, odd = 0.0f;
    int32_t column = 0;
    for (; column + 1 < layer->inputs; column += 2) {
      even += weight(value[column]) * x[column];
      odd += weight(value[column + 1]) * x[column + 1];
    }
    if (column < layer->inputs) even += weight(value[column]) * x[column];
    y[row] = even + odd;
    value += layer->inputs;
  }
}
