"""The losses of SAEHD: of each side, of styles, and of the two discriminators.

Every loss is a vector with one number a sample. DeepFaceLab differentiates their sum over the batch, not their mean;
that is for who calls. Nothing here runs in less than float32. R is the resolution, T and P are target and prediction
where they are compared (inside of the soft mask with masked_training):

    side    10 DSSIM(R / 11.6) below 256 px, else 5 DSSIM(R / 11.6) + 5 DSSIM(R / 23.2), of T and P
            + 10 mean (T - P)²  + 10 mean (mask - its prediction)²
            + 300 mean |(t - p) eyes and mouth| (eyes_mouth_prio)
    src     + style of the swap against dst (face_style_power)  + background of the swap against dst's (bg_style_power)
    total   src + dst + true_face_power · BCE(code of src taken for dst's)
            + gan_power · BCE(P of src taken for real), with masked_training + 1e-6 total variation
            + 0.02 mean ((1 - soft mask) (p - t))²

Source: DeepFaceLab commit 46fc239, models/Model_SAEHD/Model.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from dfl.model_options import number_of
from trainer.architectures.saehd import Branch
from trainer.losses.adversarial import Axes, are_taken_for, total_variation
from trainer.losses.batch import Targets
from trainer.losses.dssim import dssim
from trainer.losses.extra import ExtraLoss
from trainer.losses.style import style

LARGE_RESOLUTION = 256
"""px: from here on two windows of the DSSIM."""
PatchJudge = Callable[[Tensor], tuple[Tensor, Tensor]]
CodeJudge = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LossSettings:
    """Which losses a training has. Powers are those of the options; 0 leaves the term out."""

    masked_training: bool = True
    eyes_mouth_prio: bool = False
    blur_out_mask: bool = False
    face_style_power: float = 0.0
    bg_style_power: float = 0.0
    true_face_power: float = 0.0
    gan_power: float = 0.0
    total_variation_axes: Axes = "channels_rows"
    extra: tuple[ExtraLoss, ...] = ()
    """Losses that DeepFaceLab does not have, added to those of each side."""

    @classmethod
    def from_options(
        cls, options: Mapping[str, object], *, axes: Axes = "channels_rows", extra: tuple[ExtraLoss, ...] = ()
    ) -> LossSettings:
        """Read a model's options. Pretraining has no styles and no GAN; liae has no true face."""
        pretrains = bool(options.get("pretrain"))
        is_df = str(options.get("archi", "")).startswith("df")
        return cls(
            masked_training=bool(options.get("masked_training", True)),
            eyes_mouth_prio=bool(options.get("eyes_mouth_prio")),
            blur_out_mask=bool(options.get("blur_out_mask")),
            face_style_power=0.0 if pretrains else number_of(options, "face_style_power"),
            bg_style_power=0.0 if pretrains else number_of(options, "bg_style_power"),
            true_face_power=number_of(options, "true_face_power") if is_df else 0.0,
            gan_power=0.0 if pretrains else number_of(options, "gan_power"),
            total_variation_axes=axes,
            extra=extra,
        )

    @property
    def branches(self) -> frozenset[Branch]:
        """What the network has to compute for these losses."""
        wanted: set[Branch] = {"src_src", "src_src_mask", "dst_dst", "dst_dst_mask"}
        if self.face_style_power:
            wanted |= {"src_dst_of_stopped_code", "src_dst_mask"}
        if self.bg_style_power:
            wanted.add("src_dst")
        if self.true_face_power:
            wanted.add("src_code")
        return frozenset(wanted)


@dataclass(frozen=True)
class GeneratorLosses:
    """Vectors (batch,)."""

    src: Tensor
    """With styles, without true face and GAN: what DeepFaceLab shows."""
    dst: Tensor
    total: Tensor
    """What is differentiated, summed over the batch."""


def generator_losses(
    settings: LossSettings,
    answers: Mapping[Branch, Tensor],
    src: Targets,
    dst: Targets,
    *,
    judge_code: CodeJudge | None = None,
    judge_picture: PatchJudge | None = None,
) -> GeneratorLosses:
    """Return the losses of what the network answered. A judge is the discriminator that a power above 0 needs."""
    of_src = side_loss(settings, src, answers["src_src"], answers["src_src_mask"])
    of_dst = side_loss(settings, dst, answers["dst_dst"], answers["dst_dst_mask"])
    if settings.face_style_power:
        of_src = of_src + _face_style(settings.face_style_power, answers)
    if settings.bg_style_power:
        of_src = of_src + _background_style(settings.bg_style_power, answers["src_dst"], src, dst)
    total = of_src + of_dst
    if settings.true_face_power and judge_code is not None:
        total = total + settings.true_face_power * are_taken_for(judge_code(answers["src_code"]), 1)
    if settings.gan_power and judge_picture is not None:
        total = total + _against_gan(settings, answers["src_src"], src, judge_picture)
    return GeneratorLosses(of_src, of_dst, total)


def side_loss(settings: LossSettings, targets: Targets, prediction: Tensor, predicted_mask: Tensor) -> Tensor:
    """Return the loss (batch,) of one side's own picture and mask."""
    resolution = prediction.shape[-1]
    truth, answer = targets.masked, targets.inside(prediction)
    loss = 10 * dssim(truth, answer, int(resolution / 11.6)).mean(1)
    if resolution >= LARGE_RESOLUTION:
        loss = loss / 2 + 5 * dssim(truth, answer, int(resolution / 23.2)).mean(1)
    loss = loss + 10 * _mean((truth - answer).square())
    if settings.eyes_mouth_prio:
        loss = loss + 300 * _mean((targets.picture * targets.eyes_mouth - prediction * targets.eyes_mouth).abs())
    loss = loss + 10 * _mean((targets.mask - predicted_mask).square())
    for extra in settings.extra:
        loss = loss + extra.weight * extra.loss(truth, answer)
    return loss


def code_discriminator_loss(judge: CodeJudge, src_code: Tensor, dst_code: Tensor) -> Tensor:
    """Return (batch,): how badly the code discriminator distinguishes dst's code (1) from src's (0)."""
    return (are_taken_for(judge(dst_code), 1) + are_taken_for(judge(src_code), 0)) / 2


def patch_discriminator_loss(judge: PatchJudge, src: Targets, src_src: Tensor) -> Tensor:
    """Return (batch,): how badly the GAN's discriminator distinguishes src's target (1) from the prediction (0)."""
    real, made = judge(src.masked), judge(src.inside(src_src))
    return sum(
        ((are_taken_for(one, 1) + are_taken_for(other, 0)) / 2 for one, other in zip(real, made, strict=True)),
        start=src_src.new_zeros(()),
    )


def _face_style(power: float, answers: Mapping[Branch, Tensor]) -> Tensor:
    """The swap, whose gradient ends at the code, should have the style of dst's face. Weight 10000 · power / 100."""
    swap = answers["src_dst_of_stopped_code"] * answers["src_dst_mask"]
    dst = (answers["dst_dst"] * answers["dst_dst_mask"]).detach()
    return style(swap, dst, swap.shape[-1] // 8, 10000 * power / 100)


def _background_style(power: float, swap: Tensor, src: Targets, dst: Targets) -> Tensor:
    """Outside of src's soft mask the swap should be dst's target. One window at every resolution."""
    outside = 1 - src.soft_mask.clamp(0, 1)
    truth, answer = dst.picture * outside, swap * outside
    weight = 10 * power / 100
    differences = dssim(answer, truth, int(swap.shape[-1] / 11.6)).mean(1) + _mean((answer - truth).square())
    return weight * differences


def _against_gan(settings: LossSettings, src_src: Tensor, src: Targets, judge: PatchJudge) -> Tensor:
    center, per_pixel = judge(src.inside(src_src))
    loss = settings.gan_power * (are_taken_for(center, 1) + are_taken_for(per_pixel, 1))
    if settings.masked_training:
        outside = 1 - src.soft_mask
        loss = loss + 1e-6 * total_variation(src_src, settings.total_variation_axes)
        loss = loss + 0.02 * _mean((src_src * outside - src.picture * outside).square())
    return loss


def _mean(values: Tensor) -> Tensor:
    return values.mean((1, 2, 3))
