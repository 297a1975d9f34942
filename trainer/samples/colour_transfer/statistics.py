"""Colour transfer by means and covariances: rct, lct, mkl.

Pictures are (H, W, 3) float32 BGR of 0..1; the two may differ in size. Source: DeepFaceLab commit 46fc239,
core/imagelib/color_transfer.py, which states Reinhard et al. 2001 and Pitié et al. 2007.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

_LIGHTEST, _STRONGEST = 100.0, 127.0
"""Largest L, and largest a and b either way, of OpenCV's float Lab."""
_RIDGE = 1e-5
"""Added to the variances by lct, so that a picture of one colour has a root."""


def rct(picture: Picture, reference: Picture) -> Picture:
    """Reinhard: give each channel of Lab the mean and standard deviation of the reference."""
    own, other = (cv2.cvtColor(one, cv2.COLOR_BGR2LAB) for one in (picture, reference))
    (own_mean, own_std), (other_mean, other_std) = (
        (one.mean(axis=(0, 1)), one.std(axis=(0, 1))) for one in (own, other)
    )
    ratio = np.divide(other_std, own_std, out=np.zeros_like(own_std), where=own_std > 0)
    moved = (own - own_mean) * ratio + other_mean
    moved[..., 0] = np.clip(moved[..., 0], 0, _LIGHTEST)
    moved[..., 1:] = np.clip(moved[..., 1:], -_STRONGEST, _STRONGEST)
    return np.asarray(np.clip(cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2BGR), 0, 1), np.float32)


def lct(picture: Picture, reference: Picture) -> Picture:
    """Linear: give the colours the mean and the covariance of the reference by symmetric square roots."""
    own_mean, other_mean = _mean_of_rows(picture), _mean_of_rows(reference)
    own, other = picture.reshape(-1, 3) - own_mean, reference.reshape(-1, 3) - other_mean
    own_root, other_root = _root(own), _root(other)
    moved = own @ (other_root @ np.linalg.inv(own_root)).T + other_mean
    return np.asarray(np.clip(moved, 0, 1).reshape(picture.shape), np.float32)


def _mean_of_rows(picture: Picture) -> NDArray[np.float32]:
    """Return the mean colour, added up in DeepFaceLab's order: the last bits of float32 depend on it."""
    return np.asarray(picture.mean(axis=0).mean(axis=0), np.float32)


def _root(centred: Picture) -> NDArray[np.float64]:
    """Return the symmetric square root of the covariance of colours whose mean is 0."""
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred) + _RIDGE * np.eye(3))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T, np.float64)


def mkl(picture: Picture, reference: Picture) -> Picture:
    """Monge-Kantorovich: the linear map between the two covariances that moves the colours least."""
    own, other = picture.reshape(-1, 3), reference.reshape(-1, 3)
    own_roots, own_vectors = _roots(np.cov(own, rowvar=False))
    turned = own_vectors * own_roots
    inner_roots, inner_vectors = _roots(turned.T @ np.cov(other, rowvar=False) @ turned)
    inverse = own_vectors / own_roots
    mat = inverse @ (inner_vectors * inner_roots) @ inner_vectors.T @ inverse.T
    moved = (own - own.mean(axis=0)) @ mat + other.mean(axis=0)
    return np.asarray(np.clip(moved, 0, 1).reshape(picture.shape), np.float32)


def _roots(covariance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the square roots of a covariance's eigenvalues, none of them 0, and its eigenvectors in columns."""
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(np.maximum(values, np.finfo(np.float64).eps)), vectors
