"""CrossQ's critics: batch normalisation instead of target networks.

Q(s, a) and Q(s', a') come from one pass over both halves of a joint mini-batch: so both are normalised by the same
statistics. The actor's update asks the critics with running statistics.

Source: Bhatt et al. 2024, "CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample Efficiency and
Simplicity". Departs from it: neither the actor, whose exports stay what they were, nor a network's input is normalised;
there is no scale, which the next layer's weights can be; the critics are as wide as `hidden` says.
"""

from edgedst import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgedst.agents.actor_critic import Transitions

BETA_1 = 0.5  # of Adam, for these critics


class JointPasses:
    """A pass of each critic over both halves of a mini-batch.

    Args:
        arena: where they live.
        sizes: features of each layer of a critic.
        batch_size: B, columns of a half.
        over: where the first critic's activations may begin, over regions that nothing needs while critics learn.
    """

    def __init__(self, arena: core.Arena, sizes: "Sequence[int]", batch_size: int, over: int) -> None:
        joint, half = 2 * batch_size, batch_size
        self.activations = (
            core.Activations(arena, "activations.joint_1", sizes, joint, True, over),
            core.Activations(arena, "activations.joint_2", sizes, joint, True),
        )
        self.input = core.Batch(arena, "batch.joint_input", sizes[0], joint)
        self.q = [core.Batch(arena, f"batch.joint_q_{number}", 1, joint) for number in (1, 2)]
        self.next_q = (core.Batch(arena, "batch.next_q_1", 1, half), core.Batch(arena, "batch.next_q_2", 1, half))
        self.dq = core.Batch(arena, "batch.joint_dq", 1, joint)
        self.no_dq = core.Batch(arena, "batch.no_dq", 1, half)

    def forward(
        self, critics: "Sequence[core.Network]", batch: "Transitions", qs: "Sequence[core.Batch]"
    ) -> tuple[core.Batch, core.Batch]:
        """Q(s, a) of each critic into `qs`, (1, B) each; returns Q(s', a')."""
        core.join(batch.critic_input, batch.next_critic_input, self.input)
        for critic, activations, joint, q, next_q in zip(critics, self.activations, self.q, qs, self.next_q):  # noqa: B905  # two each
            critic.forward(self.input, activations, joint)
            core.split(joint, q, next_q)
        return self.next_q

    def backward(
        self,
        number: int,
        critic: core.Network,
        dq: core.Batch,
        workspace: core.TopologyWorkspace,
        gradients: core.Gradients,
    ) -> None:
        """Gradients of critic 0 or 1 by what its Q(s, a) should change; the target's half is a constant."""
        self.no_dq.fill(0.0)
        core.join(dq, self.no_dq, self.dq)
        critic.backward(self.input, self.activations[number], self.q[number], self.dq, workspace, gradients)
