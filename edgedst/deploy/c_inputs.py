"""What stands before the first layer of an actor in C: units, centre, clip, and the memory of a history."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgedst.runs.actor import ActorWeights, FloatArray

_OBSERVATION, _ACTION = "EDGEDST_OBSERVATION_SIZE", "EDGEDST_ACTION_SIZE"


@dataclass(frozen=True, eq=False)
class CInputs:
    """Texts and sizes, all empty where the first layer takes the observation itself."""

    x: str = "obs"  # the first layer's argument
    constants: dict[str, FloatArray] = field(default_factory=dict)  # static arrays, by name
    buffers: dict[str, int] = field(default_factory=dict)  # floats of the static memory, by name
    functions: str = ""  # that `edgedst_act` calls, and what else the file offers
    before: tuple[str, ...] = ()  # lines of `edgedst_act` before the layers
    after: tuple[str, ...] = ()  # and after them


def inputs_in_c(weights: ActorWeights, scales: FloatArray | None) -> CInputs:
    """Those of an actor; `scales` are the packed first layer's `input_scales`."""
    size, history = weights.observation_size, weights.history
    if weights.centre is None and weights.input_clip is None and not history:
        if scales is None:
            return CInputs()
        loop = f"  for (int32_t i = 0; i < {_OBSERVATION}; i++) scaled[i] = obs[i] * layer_0_input_scales[i];"
        return CInputs("scaled", {"layer_0_input_scales": scales}, {"scaled": size}, before=(loop,))
    first_action = history * size
    observation, action = slice(0, size), slice(first_action, first_action + weights.sizes[-1])
    constants: dict[str, FloatArray] = {}
    takers = []
    for name, columns, length in (("observation", observation, _OBSERVATION), ("action", action, _ACTION)):
        if name == "action" and not history:
            continue
        steps = [f"float x = {name}[i];"]
        centre = np.array(weights.centre, dtype=np.float32)[columns] if weights.centre is not None else np.zeros(1)
        if centre.any():
            constants[f"{name}_centre"] = centre.astype(np.float32)
            steps[0] = f"float x = {name}[i] - {name}_centre[i];"
        if weights.input_clip is not None and name == "observation":
            for side, sign, limit in zip(("low", "high"), "<>", weights.input_clip, strict=True):
                constants[f"{name}_{side}"] = limit[columns]
                steps.append(f"if (x {sign} {name}_{side}[i]) x = {name}_{side}[i];")
        times = ""
        if scales is not None:
            constants[f"{name}_scales"] = scales[columns]
            times = f" * {name}_scales[i]"
        steps.append(f"input[i] = x{times};")
        takers.append(_taker(name, length, steps))
    head = "/* What the first layer takes of the environment's numbers; a NaN stays one. */\n"
    functions = head + "\n".join(takers)
    if not history:
        return CInputs("input", constants, {"input": size}, functions, before=("  take_observation(obs, input);",))
    constants["start_action"] = weights.start_action
    return CInputs("memory", constants, {"memory": weights.sizes[0]}, functions, _REMEMBER, _ACTED)


def _taker(name: str, length: str, steps: list[str]) -> str:
    lines = "\n".join(f"    {step}" for step in steps)
    return (
        f"static void take_{name}(const float *{name}, float *input) {{\n"
        f"  for (int32_t i = 0; i < {length}; i++) {{\n{lines}\n  }}\n}}\n"
    )


_REMEMBER = (
    "  if (spoiled != spoiled) { /* not remembered: the next call is not touched by it */",
    f"    for (int32_t i = 0; i < {_ACTION}; i++) action[i] = spoiled;",
    "    return;",
    "  }",
    "  remember_observation(obs);",
)
_ACTED = ("  remember_action(action);",)
