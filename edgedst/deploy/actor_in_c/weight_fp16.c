typedef int16_t weight_t; /* the 16 bits of an IEEE half; signed, so that widening copies the sign to the top */

/* The half's exponent and fraction, moved to where a float has them, are 2^112 times too small; halves below 2^-14
 * come out right, too. */
static float weight(weight_t stored) {
  union {
    uint32_t bits;
    float value;
  } number;
  number.bits = (uint32_t)stored << 13 & 0x8fffe000u;
  return number.value * 0x1p112f;
}
