typedef int8_t weight_t; /* times its row's scale */

static float weight(weight_t stored) { return (float)stored; }
