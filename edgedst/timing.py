"""How long a run will take on this machine: measured for `edgedst plan`, which imports this behind the plan."""

from time import monotonic, process_time

from edgedst import core
from edgedst.agents.actor_critic import NETWORKS
from edgedst.agents.networks import evolves
from edgedst.envs import episode_limit
from edgedst.stage import floats, made_to_try
from edgedst.updates import updates_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgedst.envs import Environment

TIMED_SECONDS = 0.6  # of acting, and as long of learning
MOST_TURNS = 20  # of updates: an actor that learns more rarely hardly counts
TIMED_ROWS = 4_096  # of the replay that those updates sample from


def expected_times(config: "Any", environment: "Environment", rows: int) -> "dict[str, float]":
    """Seconds that a step's parts take on this machine, now, and the whole run with its evaluations.

    The very agent acts in the simulator for a moment, then learns from that. A machine is not moved: there, an update's
    time and its period are all.

    Args:
        config: the run's settings.
        environment: to train in.
        rows: of the run's replay, so that this takes no more than the run.

    Returns:
        `update_seconds`, of one; `waited_share`, of the time of updates, in which other work had the processor. Of a
        machine `step_seconds`, its period; of a simulator `acting_seconds`, of a step without its updates,
        `evaluation_seconds`, of all evaluations with every episode at its full length, and `run_seconds`, which has
        these in it.
    """
    core.set_threads(config.threads)
    if not environment.hardware:
        environment.reset(config.seed)
    agent = made_to_try(config, environment, min(rows, TIMED_ROWS))
    action, scaled = floats(environment.action_size), floats(environment.action_size)

    def act() -> None:
        agent.explore(agent.seen, action)
        environment.scale_action(action, scaled)
        reward, terminated, truncated = environment.step(scaled)
        agent.remember(action, reward, environment.observation, terminated, truncated)
        if terminated or truncated:
            environment.reset(agent.random.integer() & 0x7FFFFFFF)
            agent.begin_episode(environment.observation)

    if environment.hardware:
        agent.remember(action, 0.0, environment.observation, False, False)
    else:
        acting = _usual_seconds(act)
    if evolves(config):  # a target then holds the union of old and new connections, as it does in a run
        agent.evolve(*[agent.networks[name] for name in NETWORKS])
    began, used = monotonic(), process_time()
    times = {"update_seconds": _usual_seconds(agent.update, min(config.policy_delay or 1, MOST_TURNS))}
    times["waited_share"] = round(max(0.0, 1 - (process_time() - used) / (monotonic() - began)), 3)
    if environment.hardware:
        return {**times, "step_seconds": environment.step_seconds} if environment.step_seconds else times
    updates = updates_for(config.steps - config.start_steps, config.updates_per_step)
    evaluations = config.steps // config.eval_every + 1 if config.eval_every else 0
    evaluating = evaluations * config.eval_episodes * episode_limit(environment) * acting
    return {
        **times,
        "acting_seconds": acting,
        "evaluation_seconds": evaluating,
        "run_seconds": config.steps * acting + updates * times["update_seconds"] + evaluating,
    }


def _usual_seconds(call: "Callable[[], None]", turns: int = 1) -> float:
    """Of one call, where every so many take their turns at the same work: the mean of each turn's median.

    A median is of calls that nothing interrupted, unless the machine is very busy. A slow call is called once.
    """
    times: list[list[float]] = [[] for _ in range(turns)]
    calls, end = 0, monotonic() + TIMED_SECONDS
    while not calls or monotonic() < end:
        began = monotonic()
        call()
        times[calls % turns].append(monotonic() - began)
        calls += 1
    medians = [sorted(of_turn)[len(of_turn) // 2] for of_turn in times if of_turn]
    return sum(medians) / len(medians)
