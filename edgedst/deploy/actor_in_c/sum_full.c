/* Every place has a weight. Eight sums a row: an addition waits for the one before, and rounds less than in one sum. */
static void sum_full(const layer_t *layer, const float *x, float *y) {
  const weight_t *value = layer->values;
  const int32_t eights = layer->inputs / 8 * 8;
  for (int32_t row = 0; row < layer->outputs; row++) {
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f, e = 0.0f, f = 0.0f, g = 0.0f, h = 0.0f;
    int32_t column = 0;
    for (; column < eights; column += 8) {
      a += weight(value[0]) * x[column];
      b += weight(value[1]) * x[column + 1];
      c += weight(value[2]) * x[column + 2];
      d += weight(value[3]) * x[column + 3];
      e += weight(value[4]) * x[column + 4];
      f += weight(value[5]) * x[column + 5];
      g += weight(value[6]) * x[column + 6];
      h += weight(value[7]) * x[column + 7];
      value += 8;
    }
    for (; column < layer->inputs; column++) a += weight(*value++) * x[column];
    y[row] = ((a + b) + (c + d)) + ((e + f) + (g + h));
  }
}
