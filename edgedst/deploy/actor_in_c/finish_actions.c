/* Bias, tanh, then the environment's units; `spoiled` is 0, or NaN where an observation was not finite. */
static void finish_actions(const layer_t *layer, float *y, float spoiled) {
  for (int32_t row = 0; row < layer->outputs; row++) {
    const float low = edgedst_action_low[row], high = edgedst_action_high[row];
    const float z = $sum;
    float action = (0.5f * high + 0.5f * low) + (0.5f * high - 0.5f * low) * tanhf(z);
    if (action < low) action = low;
    if (action > high) action = high;
    y[row] = action + spoiled;
  }
}
