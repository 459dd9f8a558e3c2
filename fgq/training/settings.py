"""How vggt-tiny is made: its sizes, its curriculum, its optimiser. One value, saved with every checkpoint."""

from dataclasses import dataclass

from fgq.vggt import VGGTConfig

TINY = dict(
    img_size=64,
    patch_size=8,
    embed_dim=128,
    depth=6,
    num_heads=4,
    encoder_depth=4,
    num_register_tokens=4,
    camera_trunk_depth=2,
    dpt_features=32,
    dpt_out_channels=(32, 64, 96, 128),
    dpt_layers=(1, 2, 4, 5),
)


def tiny_config() -> VGGTConfig:
    return VGGTConfig(**TINY)


@dataclass(frozen=True)
class TrainingSettings:
    """Steps count optimiser updates; a stage of pairs comes first, then clips of `frames` frames."""

    seed: int = 0
    pair_steps: int = 1200
    steps: int = 3400  # all of them, the pairs included
    frames: int = 4  # of a clip after the pairs
    dense_frames: int = 2  # frames of a clip whose depth and points are supervised in a step, drawn at random
    batch: int = 16  # clips a step
    matrix_rate: float = 2e-3  # Muon, for the weight matrices of encoder and aggregator
    other_rate: float = 1e-3  # AdamW, for everything else
    weight_decay: float = 0.01
    warmup_steps: int = 150
    decay_share: float = 0.4  # the last part of the steps, in which the rates fall linearly to zero
    gradient_clip: float = 1.0
    average: float = 0.998  # decay of the exponential moving average of the weights, which is what ships
    motion_start: float = 0.4  # share of the full camera motion at the first step
    motion_steps: int = 1000  # until the motion is full
    validation_scenes: int = 64
    checkpoint_every: int = 200

    def rate(self, step: int) -> float:
        """Factor on the learning rates at a step: warm-up, plateau, linear decay."""
        decay_steps = max(1, round(self.decay_share * self.steps))
        return min(1.0, (step + 1) / self.warmup_steps, max(0.0, (self.steps - step) / decay_steps))

    def motion(self, step: int) -> float:
        return min(1.0, self.motion_start + (1 - self.motion_start) * step / max(1, self.motion_steps))

    def clip_frames(self, step: int) -> int:
        return 2 if step < self.pair_steps else self.frames
