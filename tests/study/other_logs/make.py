"""Makes the logs beside this file, by the real tools: `pip install stable-baselines3 tensorboard`, `python make.py`.

sb3-s0 and sb3-s1 are what Stable-Baselines3 2.9.2 writes of two seeds of TD3 on Pendulum-v1, through EvalCallback,
Monitor and its csv and tensorboard loggers. cleanrl has an event file with the tags of CleanRL's
td3_continuous_action.py, through its writer (torch.utils.tensorboard), of returns that are made up.
"""

import sys
from pathlib import Path

import gymnasium
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from torch.utils.tensorboard import SummaryWriter


def main(here):
    for seed in (0, 1):
        folder = here / f"sb3-s{seed}"
        model = TD3(
            "MlpPolicy",
            Monitor(gymnasium.make("Pendulum-v1"), str(folder / "monitor.csv")),
            policy_kwargs={"net_arch": [4]},
            learning_starts=300,
            train_freq=20,
            seed=seed,
        )
        model.set_logger(configure(str(folder), ["csv", "tensorboard"]))
        to_evaluate = Monitor(gymnasium.make("Pendulum-v1"))
        model.learn(
            2000, callback=EvalCallback(to_evaluate, n_eval_episodes=2, eval_freq=500, log_path=str(folder), verbose=0)
        )
    writer = SummaryWriter(str(here / "cleanrl" / "Pendulum-v1__td3_continuous_action__1__1700000000"))
    for episode in range(10):
        writer.add_scalar("charts/episodic_return", -1500.0 + 100 * episode, 200 * (episode + 1))
        writer.add_scalar("charts/episodic_length", 200, 200 * (episode + 1))
        writer.add_scalar("charts/SPS", 100, 200 * (episode + 1))
    for number in range(10):  # the finished agent's test: its "step" is the episode's number
        writer.add_scalar("eval/episodic_return", -600.0, number)
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
