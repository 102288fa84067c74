typedef float weight_t;

static float weight(weight_t stored) { return stored; }
