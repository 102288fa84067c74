"""Writes an actor as one C99 file and its header: weights packed as constants, no heap, of the library only tanhf.

`export/C.md` is the contract with whoever compiles it; actor_in_c/ has the parts of the file, each taken only where it
is used. What is written was compiled and compared with the native actor before, where this machine has a C compiler
(`c_check`).

A layer's entries are walked row by row, so that `y` is written once and a row's sum stays in registers; in single
precision, which is what a microcontroller's FPU has. Where the file is compiled with EDGEDST_UNPACK, for a device with
memory and vector instructions, the first call makes layers dense but for those of gaps (decision 22).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

import edgedst
from edgedst.deploy.agreement import Reference, reference_actions
from edgedst.deploy.c_check import COMPILERS, Check, check_source
from edgedst.deploy.c_inputs import CInputs, inputs_in_c
from edgedst.deploy.c_layers import CLayer, layers_in_c
from edgedst.deploy.golden import write_golden
from edgedst.deploy.packing import check_dtype, quantised
from edgedst.deploy.writing import replacing, writing
from edgedst.errors import ExportError
from edgedst.runs.actor import ActorWeights, FloatArray

PARTS = Path(__file__).with_name("actor_in_c")
LINE_LENGTH = 100
_HISTORY_SIZE = "#define EDGEDST_HISTORY {} /* observations and actions that it remembers */\n"
_HISTORY_FUNCTIONS = """
/* Forgets them: the next observation is an episode's first. Call it before each one, and after a pause. */
void edgedst_reset(void);

/* What was done instead of the last action, where a limit of yours changed it; within the bounds. */
void edgedst_applied(const float *action);
"""
_RAM = "#define EDGEDST_RAM_BYTES {} /* static; the stack holds some {} bytes more */\n"
_C_TYPES = {"float32": "float", "float16": "int16_t", "int8": "int8_t", "uint8": "uint8_t"}


@dataclass(frozen=True, eq=False)
class CSource:
    """The two files of an actor, and what they take on the device."""

    code: str
    header: str
    constant_bytes: int  # positions, values, scales, biases and bounds
    ram_bytes: int  # static scratch
    unpacked_bytes: int  # RAM on top of it with EDGEDST_UNPACK; 0: nothing to unpack


@dataclass(frozen=True, eq=False)
class CExport:
    """What `export_c` wrote, and what its check found."""

    source: CSource
    check: Check | None  # None: this machine has no C compiler
    reference: Reference  # of the weights that were written: golden pairs come from here
    pairs: int  # golden ones written

    @property
    def told(self) -> tuple[str, ...]:
        """Its size and its check, a sentence a line."""
        source = self.source
        size = f"{source.constant_bytes:,} bytes of constants, {source.ram_bytes:,} bytes of RAM (static)"
        unpacked: tuple[str, ...] = ()
        if source.unpacked_bytes:
            unpacked = (f"faster with -DEDGEDST_UNPACK and {source.unpacked_bytes:,} bytes of RAM more",)
        if self.check is None:
            return (
                f"{size}; code not measured",
                *unpacked,
                f"not compiled here: no C compiler ({', '.join(COMPILERS)}), so the file was not compared with the "
                "trained actor",
            )
        code = "code not measured: no `size` here"
        if self.check.code_bytes is not None:
            code = f"{self.check.code_bytes:,} bytes of code ({self.check.compiler} -Os for this machine)"
        return f"{size}, {code}", *unpacked, self.reference.passed(self.check.largest_difference)


def export_c(
    weights: ActorWeights, path: Path, recorded: FloatArray, dtype: str = "fp32", golden: Path | None = None
) -> CExport:
    """Write the actor to `path` and the header beside it, after they passed the check under temporary names.

    Args:
        weights: the trained actor.
        path: the .c file to write; older files there are replaced only by what passed.
        recorded: (rows, N) float32 features of the run, which the actor is checked on; may be empty.
        dtype: what the weights are stored as, one of `packing.DTYPES`.
        golden: where golden pairs are to be; they are replaced together with the actor's files.

    Raises:
        ConfigError: when the dtype is unknown.
        ExportError: when the name is none for a C file, the code fails its check or cannot be written. Nothing new is
            left behind.
    """
    check_dtype(dtype)
    check_name(path)
    header = path.with_suffix(".h")
    written = quantised(weights, dtype)
    source = build_source(weights, path.stem, dtype)
    files = [path, header] if golden is None else [path, header, golden]
    with replacing(*files) as temporary:
        with writing(path):
            for name, text in zip(temporary, (source.code, source.header), strict=False):
                name.write_text(text, encoding="ascii")
        reference = reference_actions(written, recorded)
        check = check_source(source.code, source.header, path.stem, written, reference)
        pairs = write_golden(written, reference, golden, temporary[2]) if golden is not None else 0
    return CExport(source, check, reference, pairs)


def check_name(path: Path) -> None:
    """Refuse a file name that gives no header guard, before anything is read or written.

    Raises:
        ExportError: when it does not end in .c, or what stands before is no C identifier.
    """
    if path.suffix != ".c" or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", path.stem):
        raise ExportError(
            f"`{path.name}` cannot be the name of an actor in C. Expected letters, digits and underscores, no digit "
            "first, and the ending `.c`, for example `actor.c`."
        )


def build_source(weights: ActorWeights, name: str, dtype: str = "fp32") -> CSource:
    """The text of NAME.c and NAME.h; the same actor always gives the same bytes."""
    layers, input_scales = layers_in_c(weights, dtype)
    inputs = inputs_in_c(weights, input_scales)
    scratch = _scratch(weights.sizes)
    ram_bytes = 4 * (sum(scratch.values()) + sum(inputs.buffers.values()) + (1 if weights.history else 0))
    arrays = [*inputs.constants.values(), *(array for layer in layers for array in layer.arrays.values())]
    constant_bytes = sum(array.nbytes for array in arrays) + 8 * weights.sizes[-1]  # and the bounds
    code = _code(weights, name, dtype, layers, inputs, scratch)
    unpacked_bytes = 4 * sum(layer.unpacked_floats for layer in layers)
    unpacked_bytes += 4 if unpacked_bytes else 0  # whether it was done
    header = _header(weights, name, dtype, constant_bytes, ram_bytes, unpacked_bytes)
    # Both files carry the checksum of both, so that a compiler refuses the header of another export.
    checksum = f"0x{zlib.crc32((code + header).encode('ascii')):08x}"
    code, header = (text.replace("{export}", checksum) for text in (code, header))
    return CSource(code, header, constant_bytes, ram_bytes, unpacked_bytes)


def _scratch(sizes: tuple[int, ...]) -> dict[str, int]:
    """Floats of the two buffers that hidden layers take in turns, by name: each as wide as its widest."""
    hidden = sizes[1:-1]
    return {f"scratch_{number}": max(turn) for number, turn in enumerate((hidden[0::2], hidden[1::2])) if turn}


def _header(
    weights: ActorWeights, name: str, dtype: str, constant_bytes: int, ram_bytes: int, unpacked_bytes: int
) -> str:
    strings = {"environment": weights.environment, "method": weights.method, "version": weights.version, "dtype": dtype}
    return _part(
        "actor.h",
        name=name,
        guard=f"EDGEDST_{name.upper()}_H",
        method=_in_comment(weights.method),
        environment=_in_comment(weights.environment),
        **{f"c_{key}": _c_string(text) for key, text in strings.items()},
        seed=weights.seed,
        step=weights.step,
        observation_size=weights.observation_size,
        action_size=weights.sizes[-1],
        history_size=_HISTORY_SIZE.format(weights.history) if weights.history else "",
        history_functions=_HISTORY_FUNCTIONS if weights.history else "",
        constant_bytes=constant_bytes,
        ram=_ram(ram_bytes, unpacked_bytes),
    )


def _ram(ram_bytes: int, unpacked_bytes: int) -> str:
    """Lines of the header."""
    packed = _RAM.format(ram_bytes, 100)
    if not unpacked_bytes:
        return packed
    unpacked = _RAM.format(ram_bytes + unpacked_bytes, 300)
    why = "/* the first call unpacks weights into RAM, for speed */"
    return f"#ifdef EDGEDST_UNPACK {why}\n{unpacked}#else\n{packed}#endif\n"


def _code(
    weights: ActorWeights, name: str, dtype: str, layers: list[CLayer], inputs: CInputs, scratch: dict[str, int]
) -> str:
    scales, row_sum = "", "y[row] + layer->bias[row]"
    if dtype == "int8":
        scales = "\n  const float *scales; /* one a row */"
        row_sum = "y[row] * layer->scales[row] + layer->bias[row]"
    parts = [
        _part("head.c", name=name, edgedst=edgedst.__version__, about=_about(weights, dtype, layers)),
        _bounds(weights),
        _part(f"weight_{dtype}.c"),
        _part("layer.c", scales=scales),
        *(_constants(number, layer, inputs) for number, layer in enumerate(layers)),
        *_sums({layer.walk for layer in layers}),
        *([_part("finish_hidden.c", sum=row_sum)] if len(layers) > 1 else []),
        # But for rounding an action is inside its bounds, and two comparisons take that away; a NaN passes them.
        _part("finish_actions.c", sum=row_sum),
        *([inputs.functions] if inputs.functions else []),
        *([_part("history.c")] if weights.history else []),
        _act(layers, inputs, scratch),
    ]
    return "\n".join(parts)


def _sums(walks: set[str]) -> list[str]:
    """The functions that read layers."""
    read = [_part(f"sum_{walk}.c") for walk in sorted(walks - {"gaps"})]
    choice = ["#ifdef EDGEDST_UNPACK", _part("unpack.c"), "#else", *read, "#endif\n"] if read else []
    return [*([_part("sum_gaps.c")] if "gaps" in walks else []), *choice]


def _part(file: str, **values: Any) -> str:
    """A file of actor_in_c/, filled in; {export} becomes the checksum once all is written."""
    return Template((PARTS / file).read_text(encoding="ascii")).substitute(values, export="{export}")


def _about(weights: ActorWeights, dtype: str, layers: list[CLayer]) -> str:
    """Lines of a comment."""
    about = [
        f"environment  {weights.environment}: {weights.observation_size} observations, {weights.sizes[-1]} actions",
        f"trained      {weights.method}, seed {weights.seed}, {weights.step:,} steps, edgedst {weights.version}",
    ]
    if weights.evaluation_return is not None:
        spread = "" if weights.evaluation_sd is None else f" +- {weights.evaluation_sd:.1f}"
        about.append(f"return       {weights.evaluation_return:.1f}{spread} in the last evaluation before")
    places = {"gaps": "places as gaps", "bitmask": "places as a bitmask", "full": "every place"}
    for number, (trained, layer) in enumerate(zip(weights.layers, layers, strict=True)):
        about.append(
            f"{'layers      ' if number == 0 else '            '} {trained.in_features} to {trained.out_features}: "
            f"{trained.nnz:,} connections ({trained.sparsity:.1%} sparse), {places[layer.walk]}, {dtype}"
        )
    return "\n".join(f" *   {_in_comment(line)}" for line in about)


def _bounds(weights: ActorWeights) -> str:
    low, high = weights.bounds_inside
    return "\n".join(
        _array(f"const float edgedst_action_{side}[EDGEDST_ACTION_SIZE]", bound)
        for side, bound in (("low", low), ("high", high))
    )


def _constants(number: int, layer: CLayer, inputs: CInputs) -> str:
    name = f"layer_{number}"
    fields = [str(layer.in_features), str(layer.out_features)]
    texts = []
    for field, array in layer.arrays.items():
        fields.append(f"{name}_{field}" if len(array) else "0")  # C99 has no array of length 0
        if len(array):
            texts.append(_array(f"static const {_C_TYPES[array.dtype.name]} {name}_{field}[{len(array)}]", array))
    if number == 0:
        texts += [_array(f"static const float {kind}[{len(array)}]", array) for kind, array in inputs.constants.items()]
    return "\n".join([*texts, f"static const layer_t {name} = {{{', '.join(fields)}}};\n"])


def _act(layers: list[CLayer], inputs: CInputs, scratch: dict[str, int]) -> str:
    own = {name: floats for name, floats in inputs.buffers.items() if name != "memory"}  # history.c's
    buffers = "".join(f"static float {name}[{floats}];\n" for name, floats in (scratch | own).items())
    unpacked = {number: layer.unpacked_floats for number, layer in enumerate(layers) if layer.unpacked_floats}
    lines = []
    if unpacked:
        arrays = "".join(f"static float unpacked_{number}[{floats}];\n" for number, floats in unpacked.items())
        buffers += f"#ifdef EDGEDST_UNPACK\n{arrays}static int32_t unpacked;\n#endif\n"
        calls = [f"    unpack(&layer_{number}, unpacked_{number});" for number in unpacked]
        lines += ["#ifdef EDGEDST_UNPACK", "  if (!unpacked) {", *calls, "    unpacked = 1;", "  }", "#endif"]
    lines += inputs.before
    x = inputs.x
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        y = "action" if last else f"scratch_{number % 2}"
        packed_sum = f"  sum_{layer.walk}(&layer_{number}, {x}, {y});"
        if number in unpacked:
            unpacked_sum = f"  sum_unpacked(&layer_{number}, unpacked_{number}, {x}, {y});"
            lines += ["#ifdef EDGEDST_UNPACK", unpacked_sum, "#else", packed_sum, "#endif"]
        else:
            lines.append(packed_sum)
        finish = f"finish_actions(&layer_{number}, {y}, spoiled)" if last else f"finish_hidden(&layer_{number}, {y})"
        lines.append(f"  {finish};")
        x = y
    lines += inputs.after
    return _part("act.c", buffers=buffers, layers="\n".join(lines))


def _array(declaration: str, array: npt.NDArray[Any]) -> str:
    """A constant array, as many numbers a line as fit."""
    lines, line = [], " "
    for number in map(_c_number, array):
        if len(line) + len(number) + 2 > LINE_LENGTH:
            lines.append(line)
            line = " "
        line += f" {number},"
    return "\n".join([f"{declaration} = {{", *lines, line, "};\n"])


def _c_number(number: np.generic) -> str:
    if isinstance(number, np.float32):
        text = f"{number:.9g}"  # nine digits bring a float32 back
        return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
    if isinstance(number, np.float16):
        return str(number.view(np.int16))
    return str(number)


def _c_string(text: str) -> str:
    """A C string literal of ASCII; what is not plain is written as octal escapes of its UTF-8."""
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode("utf-8"))
    return f'"{"".join(plain)}"'


def _in_comment(text: str) -> str:
    """Text that neither ends a comment nor leaves ASCII."""
    return text.encode("ascii", "replace").decode("ascii").replace("\\", "/").replace("*/", "* /").replace("\n", " ")
