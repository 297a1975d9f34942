"""Errors of the trainer: what cannot be trained, loaded or computed as it was asked for."""

from __future__ import annotations

from core.errors import DfldError


class TrainerError(DfldError):
    """The root of this package's errors."""


class SpecError(TrainerError):
    """Options that no network can be made of."""


class WeightsError(TrainerError):
    """Tensors that do not fit the network they are meant for: one is missing, too many, or has another shape."""


class SettingsError(TrainerError):
    """A setting of the training that is unknown, or that cannot work here."""


class ModelFolderError(TrainerError):
    """A model's folder that cannot be opened or saved as it is: a file is missing, broken, or of another network."""


class ModelInUseError(TrainerError):
    """Another program trains the model at this moment."""

    retryable = True


class SaveError(TrainerError):
    """A model could not be saved; what was saved before is whole."""

    retryable = True


class OptionError(TrainerError):
    """An option of a model that is unknown, out of its range, or fixed since the model was made."""


class SampleError(TrainerError):
    """Faces that cannot be read, or processes that cannot make samples of them."""
