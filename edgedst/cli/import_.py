"""`edgedst import`: a model that another tool trained becomes a run to begin from."""

from pathlib import Path
from typing import Annotated

import typer

from edgedst.cli.evaluate import EnvKwargs, tell
from edgedst.cli.options import Debug, RunDir


def import_(
    model: Annotated[Path, typer.Argument(help="A .zip of Stable-Baselines3 (TD3 or SAC), or an .onnx actor.")],
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment that it was trained in. [default: the one that the file names]", show_default=False
        ),
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option(
            help="Share of its weights that each network leaves out, those of least magnitude. [default: none, and a "
            "dense method]",
            show_default=False,
        ),
    ] = None,
    actor_sparsity: Annotated[
        float | None,
        typer.Option(help="The same of the actor alone. [default: --sparsity, else 0]", show_default=False),
    ] = None,
    critic_sparsity: Annotated[
        float | None, typer.Option(help="The same of each critic alone, likewise.", show_default=False)
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Method to go on with. [default: the file's, else td3; with a sparsity ds-td3 or ds-sac]",
            show_default=False,
        ),
    ] = None,
    actions: Annotated[
        str | None,
        typer.Option(
            metavar="normalized|units",
            help="ONNX: whether its actions lie in [-1, 1], which means the bounds, or are in the environment's units. "
            "[default: a tanh at the end is normalized, all else are units]",
            show_default=False,
        ),
    ] = None,
    run_dir: RunDir = Path("runs"),
    episodes: Annotated[
        int, typer.Option(min=0, help="Episodes to play with the original, the imported and the pruned actor.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run; episode i is reset with seed + i.")] = 0,
    env_kwargs: EnvKwargs = None,
    debug: Debug = False,
) -> None:
    """Take over a model that another tool trained.

    Its networks become a run folder of step 0: `edgedst train --init-from` goes on from it, `evaluate` and `export`
    read it. Of Stable-Baselines3 these are the actor, both critics, their targets and alpha; of ONNX the actor alone.
    No code of the file is run. The return that it earns is shown as it was, after import and after pruning.
    """
    from edgedst.config import arguments
    from edgedst.imports.importing import import_model

    kwargs = None if env_kwargs is None else arguments(env_kwargs, "The command line")
    own = {"actor_sparsity": actor_sparsity, "critic_sparsity": critic_sparsity}
    import_model(model, env, sparsity, method, actions, run_dir, episodes, seed, kwargs, tell, **own)
