#!/bin/sh
# Usage: tools/check_kernel_symbols.sh BUILD_FOLDER
# The kernels are compiled once for each ISA. An inline function or template that a kernel object exports as a weak
# symbol may be the copy that the linker keeps for everybody: AVX-512 code in a program on a CPU without it. So kernel
# objects export no weak symbol.
objects=$(find "$1" -path '*edgedst_kernels_*' -name '*.o')
if [ -z "$objects" ]; then
    echo "No kernel objects below $1: build first." >&2
    exit 1
fi
status=0
for object in $objects; do
    symbols=$(nm --demangle --defined-only "$object") || exit 1
    # DW.ref.* is a pointer to the language's own personality routine, the same in every copy.
    weak=$(printf '%s\n' "$symbols" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v ' DW\.ref\.')
    if [ -n "$weak" ]; then
        printf '%s exports weak symbols (make them static, or keep them out of the kernels):\n%s\n' "$object" "$weak" >&2
        status=1
    fi
done
exit $status
