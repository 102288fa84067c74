"""One action for one observation, the latency of a control loop: edgedst's sparse actor and onnxruntime's dense one."""

from __future__ import annotations

from array import array
from functools import partial

from learners import Case, edgedst_agent
from timing import Side


def edgedst_actor(case: Case) -> Side:
    """A step of a fresh agent: an observation in float64, as simulators give it, to an action in float32."""
    from edgedst import core

    agent = edgedst_agent(case)
    observation, action = array("d", [0.1] * case.observation), array("f", bytes(4 * case.action))
    agent.seen.begin(observation)

    def act() -> None:
        agent.seen.add(action, observation)
        agent.act(agent.seen, action)

    label = "edgedst dense" if case.density >= 1 else f"edgedst density {case.density:g}"
    return Side(f"{label}, act()", act, prepare=lambda: core.set_threads(1))


def onnxruntime_actors(case: Case) -> dict[str, Side]:
    """The dense actor in one session of one thread: called by `run()`, and through an I/O binding.

    Only Gemm, Relu and Tanh: the Clip, Mul and Add of an exported file (edgedst/deploy/onnx.py) would cost it 2 us.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(dense_actor(case), options, providers=["CPUExecutionProvider"])
    observation = np.full((1, case.observation), 0.1, np.float32)
    binding = session.io_binding()
    # Memory of onnxruntime's own: it lives as long as the binding, which NumPy's would not.
    own = onnxruntime.OrtValue.ortvalue_from_shape_and_type
    inputs, outputs = own([1, case.observation], np.float32), own([1, case.action], np.float32)
    inputs.update_inplace(observation)
    binding.bind_ortvalue_input("obs", inputs)
    binding.bind_ortvalue_output("actions", outputs)
    label = f"onnxruntime {onnxruntime.__version__} dense"
    return {
        "onnxruntime_dense": Side(f"{label}, run()", partial(session.run, ["actions"], {"obs": observation})),
        "onnxruntime_dense_bound": Side(f"{label}, I/O binding", partial(session.run_with_iobinding, binding)),
    }


def dense_actor(case: Case) -> bytes:
    """The ONNX file of a dense actor: weights and biases U(+-1/sqrt(in))."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    sizes = (case.observation, case.hidden, case.hidden, case.action)
    nodes, initialisers = [], []
    x = "obs"
    for layer, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        bound = n_in**-0.5
        for name, shape in ((f"weight_{layer}", (n_out, n_in)), (f"bias_{layer}", (n_out,))):
            initialisers.append(numpy_helper.from_array(rng.uniform(-bound, bound, shape).astype(np.float32), name))
        nodes.append(helper.make_node("Gemm", [x, f"weight_{layer}", f"bias_{layer}"], [f"sum_{layer}"], transB=1))
        last = layer == len(sizes) - 2
        x = "actions" if last else f"hidden_{layer}"
        nodes.append(helper.make_node("Tanh" if last else "Relu", [f"sum_{layer}"], [x]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("obs", case.observation), ("actions", case.action))
    ]
    graph = helper.make_graph(nodes, "actor", values[:1], values[1:], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
