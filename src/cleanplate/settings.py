"""Everything that decides what a training computes. Frozen, JSON-able, light to import: it is also a verb's flags."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

EffectKind = Literal[
    "photometric",
    "misalignment",
    "shadows",
    "contact",
    "bounce",
    "light",
    "noise",
    "blur",
    "compression",
    "median_plate",
    "background_motion",
    "tone",
    "camouflage",
    "blend",
    "plain",
    "transparent",
    "empty",
]
"""The families of the `train` effects, each drawn from its own stream; `empty`: the plan's scenes without anything."""


@dataclass(frozen=True)
class PlanSettings:
    """How scenes are drawn. One sample is a pure function of these, the pictures, the seed, the epoch and its index."""

    positions: int = 20
    """Places per plate and cutout."""
    mirror: bool = True
    """Also every cutout mirrored (doubles the plan)."""
    placement: Literal["auto", "standing", "free"] = "auto"
    """standing: feet on the plate's floor (needs depth); free: anywhere; auto: standing where possible, else free."""
    free_share: float = 0.25
    """With `auto`, the share of placements that are free even where standing is possible."""
    objects: tuple[int, int] = (1, 3)
    """Fewest and most cutouts per scene."""
    empty_share: float = 0.1
    """Share of scenes with nothing in front (their effects are drawn all the same)."""
    leave_share: float = 0.15
    """Share of placements that may stick out of the frame."""
    size: tuple[float, float] = (0.1, 0.9)
    """Range of a free cutout's longer side, as a share of the shorter side of what is shown."""
    zoom: tuple[float, float] = (0.6, 1.0)
    """Range of the part of the plate that a scene shows, as a share of its side. (1, 1) shows the whole plate."""
    scenes_per_view: int = 1
    """Scenes of a plate that share one view of it. A stored dataset keeps every view once."""


@dataclass(frozen=True)
class LossSettings:
    """Weights of the named loss parts. total = mask * (weighted mask parts) + depth * (weighted depth parts)."""

    mask: float = 2.0
    """Weight of the mask parts together."""
    depth: float = 1.0
    """Weight of the depth parts together."""
    mask_bce: float = 1.0
    """Binary cross-entropy of the logits against soft alpha."""
    mask_dice: float = 1.0
    """1 - Dice overlap."""
    mask_l1: float = 0.0
    """Mean |alpha - truth|."""
    mask_l2: float = 0.0
    """Mean (alpha - truth)^2."""
    mask_ssim3: float = 0.0
    """(1 - SSIM) / 2 of alpha, window 3."""
    depth_l1: float = 0.1
    """Mean |ln z - ln truth|."""
    depth_l2: float = 0.0
    """Mean (ln z - ln truth)^2."""
    depth_front: float = 0.5
    """Mean |ln z - ln truth| where something stands in front."""
    depth_ssim3: float = 0.0
    """(1 - SSIM) / 2 of scaled ln z, window 3."""
    depth_ssim11: float = 1.0
    """The same, window 11."""
    depth_gradient: float = 1.0
    """Multi-scale gradient of the error of ln z."""
    depth_silog: float = 1.0
    """Scale-invariant logarithmic error."""


FROM_SCRATCH, FINE_TUNING = 3e-3, 5e-4
"""Learning rates of a training by default: of fresh weights, and of weights that know something."""


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights move."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float | None = None
    """Peak rate of the one-cycle schedule, or the rate of plain SGD before its steps. By default 0.003, and 0.0005
    with --from: a higher one unlearns what is known."""
    weight_decay: float = 1e-2
    momentum: float = 0.9
    """SGD only."""
    schedule: Literal["onecycle", "step", "constant"] = "onecycle"
    """step: times 0.1 at 50 % and 75 % of the budget."""
    clip: float = 1.0
    """Largest gradient norm; 0 = no clipping."""
    average: float = 0.0
    """Decay per step of the moving average of the weights that validation and checkpoints take; 0 = the weights."""

    @property
    def peak(self) -> float:
        """The learning rate, or what it is by default."""
        return FROM_SCRATCH if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True)
class TrainSettings:
    """What a run trains, on what, for how long."""

    network: Literal["platenet", "original", "original-small"] = "platenet"
    """platenet, or one of the two reference networks of the original project."""
    size: int = 128
    """Side of the square scenes, pixels."""
    sizes: tuple[int, ...] = ()
    """Sides that steps take in turn, --size among them (a side named twice comes twice)."""
    pairs_share: float = 0.2
    """With --pairs, the share of samples that are captured pairs."""
    greyscale: bool = False
    """Show the network grey pictures (three equal channels)."""
    scenes: int | None = None
    """Use this many scenes, spread evenly over the plan, instead of all; an epoch is one pass over them."""
    labels: str | None = None
    """With a stored dataset: the depth labels of this name instead of the dataset's own depth."""
    samples: int | None = None
    """Budget in samples."""
    epochs: float | None = None
    """Budget in passes over the scenes."""
    minutes: float | None = None
    """Budget in minutes: 50 steps are timed, then the number of steps is frozen."""
    batch: int = 32
    """Samples per step and process."""
    workers: int = 1
    """Processes that compose scenes; 0 composes in the training process."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """auto: bf16 where the processor has fast bf16, else float32."""
    seed: int = 0
    """Decides the split, the scenes, their effects and the first weights."""
    effects: Literal["train", "standard", "none"] = "train"
    """Camera effects on the training scenes."""
    without: tuple[EffectKind, ...] = ()
    """Families of effects to leave out of `train`; the others stay as they are drawn."""
    validate_every: int | None = None
    """Steps between validations; by default a tenth of the budget."""
    validation_scenes: int = 128
    """Composed scenes of validation pictures that every validation measures."""
    plan: PlanSettings = field(default_factory=PlanSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)


ORIGINAL_LOSS = LossSettings(
    mask_bce=1.0,
    mask_dice=0.0,
    depth_l1=0.0,
    depth_front=0.0,
    depth_ssim3=1.0,
    depth_ssim11=0.0,
    depth_gradient=0.0,
    depth_silog=0.0,
)
"""2 x BCE-with-logits of the mask + SSIM (window 3) of the depth."""

ORIGINAL_OPTIMIZER = OptimizerSettings(
    name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=1e-5, schedule="step", clip=0.0
)
"""SGD as the original project's (whose steps of x 0.01 per epoch stopped all learning: ours are x 0.1, twice)."""


def with_preset(settings: TrainSettings, preset: Literal["ours", "original"]) -> TrainSettings:
    """The settings with the losses and the optimizer of a preset; "ours" leaves them as they are."""
    if preset == "ours":
        return settings
    return replace(settings, loss=ORIGINAL_LOSS, optimizer=ORIGINAL_OPTIMIZER)


def with_rate(settings: TrainSettings, fine_tuning: bool) -> TrainSettings:
    """The settings with the learning rate said, if it was left to us."""
    if settings.optimizer.learning_rate is not None:
        return settings
    said = replace(settings.optimizer, learning_rate=FINE_TUNING if fine_tuning else FROM_SCRATCH)
    return replace(settings, optimizer=said)


@dataclass(frozen=True)
class TeacherSettings:
    """A depth teacher: where its network is, what its output means, and for an ONNX file how it wants its pictures.

    The flags bear the fields' names. A transformers model brings its own preprocessing.
    """

    depth: str = "layered"
    """layered: of plates and cutouts, as composed. teacher=hf:MODEL_OR_DIR: a transformers depth-estimation model.
    teacher=onnx:FILE: any ONNX network."""
    teacher_output: Literal["disparity", "depth"] | None = None
    """What its output is: disparity (larger = nearer) or depth (larger = farther). Must be said."""
    teacher_unit: Literal["m", "relative"] | None = None
    """m: metres (disparity: 1 / metre); relative: right up to scale and shift. Must be said."""
    teacher_size: tuple[int, ...] = ()
    """ONNX: input height and width, or one number: the shorter side. None = the file's own, else the picture's."""
    teacher_multiple: int = 1
    """ONNX: input sides are rounded to a multiple of this, where they are free."""
    teacher_range: Literal[1, 255] = 1
    """ONNX: its input is range * (pixel / 255 - mean) / std."""
    teacher_mean: tuple[float, float, float] | None = None
    """ONNX: mean per channel, of pixels in 0..1. None = ImageNet's with range 1, 0 with range 255."""
    teacher_std: tuple[float, float, float] | None = None
    """ONNX: deviation per channel, of pixels in 0..1. None = ImageNet's with range 1, 1 with range 255."""
    teacher_channels: Literal["rgb", "bgr"] = "rgb"
    """ONNX: the order of the channels (mean and std are in the same order)."""
    teacher_layout: Literal["nchw", "nhwc"] = "nchw"
    """ONNX: channels first or last."""
    teacher_resample: Literal["nearest", "bilinear", "bicubic", "box"] = "bicubic"
    """ONNX: how pictures are brought to the input's size (Pillow's filters, which do not alias)."""
    teacher_batch: int = 8
    """Pictures per call."""
    teacher_device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto: the GPU where there is one."""


VideoKind = Literal["overlay", "mask", "cutout", "prores", "composite", "depth"]


@dataclass(frozen=True)
class VideoSettings:
    """What is made of videos and of a live source."""

    video: tuple[VideoKind, ...] = ("overlay", "mask")
    """overlay, mask, composite: H.264; cutout: VP9 with alpha; prores: ProRes 4444 with alpha; depth: colours, and
    uint16 without loss."""
    background: Path | None = None
    """The picture behind what stands in front, for --video composite; it is made to cover the frame."""
    smooth: bool = True
    """Steady the answers to a video's frames where the picture stands still."""
    live: str | None = None
    """A camera (/dev/video0) or a stream (rtsp://, http://, udp://, tcp://, rtmp://), in place of files."""
    seconds: float | None = None
    """Stop the live source after so long; by default at Ctrl-C, or where the stream ends."""
    learn: float = 5.0
    """With --live and --plate auto: seconds during which the plate is learned first."""
