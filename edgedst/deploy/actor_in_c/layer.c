typedef struct {
  int32_t inputs, outputs;
  const uint8_t *positions; /* where they lie; none where every place has one */
  const weight_t *values;$scales
  const float *bias;
} layer_t;
