typedef uint16_t weight_t; /* IEEE half precision */

/* The half's exponent and fraction, moved to where a float has them, are 2^112 times too small; halves below 2^-14
 * come out right, too. */
static float weight(weight_t stored) {
  union {
    uint32_t bits;
    float value;
  } number;
  number.bits = (uint32_t)(stored & 0x7fffu) << 13;
  number.value *= 0x1p112f;
  number.bits |= (uint32_t)(stored & 0x8000u) << 16;
  return number.value;
}
