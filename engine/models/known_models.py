"""Models by name: what each is for, what its makers allow, how large it is, and how it gets here. Data.

dfld fetches nothing but packs that insightface offers (`dfld models fetch`). Face parsers and XSeg networks are brought
by the user, in one of several builds: the hash that counts is the one that is recorded when a file is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.models.packs import DOWNLOADABLE

CODE_MIT = "MIT"
WEIGHTS_CELEBA = "non-commercial research (trained on CelebAMask-HQ)"


@dataclass(frozen=True)
class KnownModel:
    """A model that dfld can run, whether it is here or not."""

    name: str
    purpose: str
    code_licence: str
    """Of the program that the network comes from."""
    weights_licence: str
    """Of the file itself."""
    size: str
    """As its makers say; "" where they do not."""
    sha256: str
    """Of a published file as it was seen, shortened; "" where there is none to compare with."""
    origin: str
    """Where its makers put it."""
    is_fetched: bool = False
    """Whether `dfld models fetch` brings it."""


def _pack(name: str) -> KnownModel:
    return KnownModel(
        name,
        "finds, marks and recognises faces",
        CODE_MIT,
        DOWNLOADABLE[name],
        "",
        "",
        "insightface's releases",
        is_fetched=True,
    )


KNOWN_MODELS: tuple[KnownModel, ...] = (
    *(_pack(name) for name in DOWNLOADABLE),
    KnownModel(
        "bisenet-resnet18",
        "masks: face parser, 19 classes",
        CODE_MIT,
        WEIGHTS_CELEBA,
        "53 MB",
        "",
        "resnet18.onnx of the releases of yakhyo/face-parsing",
    ),
    KnownModel(
        "bisenet-resnet34",
        "masks: face parser, 19 classes",
        CODE_MIT,
        WEIGHTS_CELEBA,
        "82 MB",
        "",
        "resnet34.onnx of the releases of yakhyo/face-parsing",
    ),
    KnownModel(
        "bisenet-zllrunning",
        "masks: face parser, 19 classes",
        CODE_MIT,
        WEIGHTS_CELEBA,
        "51 MB",
        "37cc52ff…447ff37",
        "face-parsing-bisenet.onnx, which clibdev exported from zllrunning/face-parsing.PyTorch",
    ),
    KnownModel(
        "selfie-multiclass",
        "masks: hair, skin, clothes; knows hands, 6 classes",
        "Apache-2.0",
        "Apache-2.0",
        "16 MB",
        "",
        "MediaPipe's selfie_multiclass_256x256, exported to ONNX",
    ),
    KnownModel(
        "xseg",
        "masks: what hides a face; trained in DeepFaceLab",
        "GPL-3.0 (DeepFaceLab)",
        "your own, or that of who trained it",
        "70 MB",
        "",
        "the folder of a DeepFaceLab model with XSeg_256.npy, where it stays",
    ),
)
"""Every name that `dfld models` knows."""


def known_model(name: str) -> KnownModel | None:
    """Return the model of that name, or None."""
    return next((model for model in KNOWN_MODELS if model.name == name), None)
