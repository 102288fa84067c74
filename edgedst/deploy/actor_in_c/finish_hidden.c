/* Bias, then ReLU; a NaN stays one. */
static void finish_hidden(const layer_t *layer, float *y) {
  for (int32_t row = 0; row < layer->outputs; row++) {
    const float z = $sum;
    y[row] = z < 0.0f ? 0.0f : z;
  }
}
