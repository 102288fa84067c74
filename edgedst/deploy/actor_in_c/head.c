/* $name.c: a trained sparse actor, written by `edgedst export` of edgedst $edgedst.
 * Export it again rather than edit it.
 *
$about
 *
 * C99; of the library it needs tanhf alone. ReLU between the layers, tanh after the last. */
#include "$name.h"

#include <math.h>
#include <stdint.h>

#if EDGEDST_EXPORT != ${export}u
#error "$name.c and $name.h come from two exports: take both from the same one"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "compile without -ffast-math and -ffinite-math-only: they drop what NaN observations are noticed by"
#endif
