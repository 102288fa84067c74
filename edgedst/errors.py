"""Every error that edgedst raises on purpose: one sentence that says what was expected, what came and what to do.

Each class also extends the builtin that a caller already catches. The command line prints the sentence, and the
traceback only with `--debug`.
"""

# Packages of pyproject.toml's extras. A board that trains has none of them.
EXTRAS = {
    **{"onnx": "export", "onnxruntime": "export", "distributed": "dask"},
    **{"pyarrow": "logs", "minari": "minari", "h5py": "minari"},
    **{"tensorboard": "tensorboard", "wandb": "wandb"},
    **{"jinja2": "profile", "psutil": "profile", "rich": "profile", "torch": "torch"},
    **{"imageio": "video", "imageio_ffmpeg": "video", "PIL": "video"},
    **{"optuna": "tune"},
}


class EdgedstError(Exception):
    """Base of all of them. `exit_code` is what the command line ends with."""

    exit_code = 1

    def __str__(self) -> str:
        """The sentence on one line, whatever stands in a file's text that it tells."""
        return "".join([c if c.isprintable() else ascii(c)[1:-1] for c in super().__str__()])


class BudgetExceeded(EdgedstError, MemoryError):
    """The plan does not fit the budget; nothing was allocated or written."""


class BudgetBroken(EdgedstError, MemoryError):
    """The running process went over its budget. The last checkpoint is still good."""

    exit_code = 3


class ConfigError(EdgedstError, ValueError):
    """A setting has an unknown name or an impossible value."""


class UnknownEnvironment(EdgedstError, LookupError):
    """No environment of that name can be made."""


class UnsupportedSpace(EdgedstError, TypeError):
    """An observation or action space that these algorithms cannot use, for example a discrete one."""


class EnvironmentFault(EdgedstError, RuntimeError):
    """The environment raised, or gave an observation or reward that is not a finite number."""


class RobotFault(EnvironmentFault):
    """A robot.py is missing something, raised, or gave what is no number. The machine was brought to rest."""


class TrainingDiverged(EdgedstError, ArithmeticError):
    """A loss is no longer a finite number: weights are or soon will be NaN, and no update brings them back."""


class SimulatorMismatch(EdgedstError, RuntimeError):
    """The installed MuJoCo is not one that the native host can read, or its self-check failed."""


class CheckpointError(EdgedstError, ValueError):
    """A checkpoint is missing, corrupt, or belongs to something else."""


class RunFolderError(EdgedstError, OSError):
    """The run folder cannot be written: a full disk, permissions."""


class LogError(EdgedstError, ValueError):
    """A log cannot be read, or is not what the task needs; nothing was written."""


class CoreNotBuilt(EdgedstError, ImportError):
    """The compiled core is missing."""


class ExportError(EdgedstError, ValueError):
    """An exported actor did not pass its checks; no file was left behind."""


class UnknownDevice(EdgedstError, LookupError):
    """No folder of that name in devices/."""


class BoardFileError(EdgedstError, ValueError):
    """A board.toml or what was measured, in devices/, is not as devices/README.md says."""


class EnergyUnavailable(EdgedstError, LookupError):
    """The energy source that was asked for is not there, or cannot be read."""


class StudyError(EdgedstError, ValueError):
    """A study's file is wrong, or its folder or cluster cannot be used."""


class ProfileError(EdgedstError, RuntimeError):
    """A contender of a profile cannot run or failed, or its results could not be written."""


class ModelError(EdgedstError, ValueError):
    """A model of another tool cannot be read, or is none that edgedst's networks can be."""


class MissingExtra(EdgedstError, ModuleNotFoundError):
    """A package that one of edgedst's extras brings is not installed."""


def missing_extra(error: ModuleNotFoundError, verb: str = "") -> ModuleNotFoundError:
    """What to raise for a module that is not there: with the extra that brings it, or `error` where none does."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return error
    extra = "study" if package == "jinja2" and verb == "study" else EXTRAS[package]  # both have the templates' engine
    return MissingExtra(f"This needs {package}, which is not installed: `pip install 'edgedst[{extra}]'`.")
