"""Networks as options ask for them: names, first values, branches, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.saehd_golden import load_case

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trainer.architectures.discriminators import PatchDiscriminator  # noqa: E402
from trainer.architectures.layers import Up  # noqa: E402
from trainer.architectures.names import file_tensors, load_part, part_tensors  # noqa: E402
from trainer.architectures.patch_layers import strides_for_patch  # noqa: E402
from trainer.architectures.saehd import Saehd  # noqa: E402
from trainer.architectures.spec import NetworkSpec  # noqa: E402
from trainer.errors import SpecError, WeightsError  # noqa: E402
from trainer.networks import Networks, networks_of  # noqa: E402

OPTIONS: dict[str, object] = {
    "archi": "liae-ud", "resolution": 64, "ae_dims": 4, "e_dims": 2, "d_dims": 2, "d_mask_dims": 2,
}  # fmt: skip
LETTERS = ("", "-u", "-d", "-t", "-c", "-ud", "-ut", "-dt", "-udt", "-udtc")


def made(**options: object) -> Networks:
    return networks_of(OPTIONS | options, seed=3)


@pytest.mark.parametrize("kind", ["df", "liae"])
@pytest.mark.parametrize("letters", LETTERS)
def test_every_archi_answers_with_pictures_and_masks_of_its_resolution(kind: str, letters: str) -> None:
    saehd = made(archi=kind + letters).saehd
    given = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found = saehd(given, given[:1], frozenset(["src_src", "dst_dst", "src_dst", "src_dst_mask", "src_src_mask"]))
    assert found["src_src"].shape == (2, 3, 64, 64)
    assert found["dst_dst"].shape == found["src_dst"].shape == (1, 3, 64, 64)
    assert found["src_dst_mask"].shape == (1, 1, 64, 64)
    for name in ("src_src", "src_src_mask", "dst_dst"):
        with torch.no_grad():
            alone = saehd(given, given[:1], frozenset([name]))
        assert list(alone) == [name]
        if name in found:
            assert torch.allclose(alone[name], found[name], atol=1e-6)


def test_what_is_not_asked_for_is_not_computed() -> None:
    saehd = made(archi="df-udt").saehd
    run: list[str] = []
    for name, module in saehd.named_modules():
        module.register_forward_hook(lambda *_, name=name: run.append(name))
    shown = torch.rand(1, 3, 64, 64)
    saehd(shown, shown, frozenset(["src_code"]))
    assert not any(name.startswith("decoder") for name in run)
    run.clear()
    saehd(shown, shown, frozenset(["dst_dst"]))
    assert not any(name.startswith("decoder_src") or "upscalem" in name for name in run)
    assert run.count("encoder.down1") == 1


def test_the_swap_of_the_stopped_code_trains_the_decoder_alone() -> None:
    saehd = made().saehd
    shown = torch.rand(1, 3, 64, 64)
    answers = saehd(shown, shown, frozenset(["src_dst_of_stopped_code", "src_dst"]))
    assert torch.equal(answers["src_dst"], answers["src_dst_of_stopped_code"])
    answers["src_dst_of_stopped_code"].sum().backward()
    assert all(weight.grad is None for weight in saehd.encoder.parameters())
    assert saehd.decoder.out_conv.weight.grad is not None


def test_recomputed_decoders_give_the_same_gradients() -> None:
    shown = torch.rand(1, 3, 64, 64)
    gradients = []
    for recomputes in (False, True):
        saehd = networks_of(OPTIONS, seed=3, recomputes_decoders=recomputes).saehd
        answers = saehd(shown, shown, frozenset(["src_src", "dst_dst", "src_src_mask", "dst_dst_mask"]))
        sum(answer.square().sum() for answer in answers.values()).backward()
        gradients.append([weight.grad for weight in saehd.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    "name", ["a_df", "a_df-ud", "a_df-udt", "a_liae-ud", "a_liae-udt", "a_liae-udtc", "b_gan16", "b_trueface"]
)
def test_first_values_have_the_names_and_ranges_of_deepfacelabs(shared: Path, name: str) -> None:
    case = load_case(shared, name)
    networks = networks_of(case.options, seed=5)
    modules = dict(networks.saehd.named_children())
    if name.startswith("b_"):
        judges = {"D_src": networks.patch_discriminator, "dis": networks.code_discriminator}
        modules = {part: judge for part, judge in judges.items() if judge is not None}
    facts = case.facts["init_absmax_std_disc" if name.startswith("b_") else "init_absmax_std"]
    ours = {f"{part}/{key}": one for part, module in modules.items() for key, one in part_tensors(module).items()}
    assert list(ours) == list(facts)
    for key, (size, largest, deviation) in facts.items():
        values = ours[key]
        assert values.size == size
        fan = int(np.prod(values.shape)) * (1 / values.shape[-1] + 1 / values.shape[-2]) if values.ndim > 1 else 0
        limit = np.sqrt(6 / fan) if fan else 0.0
        assert np.abs(values).max() <= limit * (1 + 1e-6)
        assert largest <= limit * (1 + 1e-3)
        if size > 2000:
            assert values.std() == pytest.approx(deviation, rel=0.05)


def test_weights_of_a_file_come_back_as_they_were(shared: Path) -> None:
    case = load_case(shared, "a_liae-udt")
    saehd = networks_of(case.options, seed=1).saehd
    for part, module in saehd.named_children():
        given = {
            k.removeprefix(f"{part}/"): v.astype(np.float32)
            for k, v in case.weights.items()
            if k.startswith(f"{part}/")
        }
        load_part(module, given)
        found = part_tensors(module)
        assert list(found) == list(given)
        assert all(np.array_equal(found[key], given[key]) for key in given)


def test_channels_of_an_up_lie_as_the_file_says(shared: Path) -> None:
    ops = np.load(shared / "golden" / "numerics" / "v2" / "ops2.npz")
    given = ops["d2s_in_u8"].astype(np.float32).transpose(0, 3, 1, 2).copy()
    up = Up(12, 3, lambda x, _: x)
    identity = np.zeros((3, 3, 12, 12), np.float32)
    identity[1, 1] = np.eye(12)
    load_part(up, {"conv1/weight:0": identity, "conv1/bias:0": np.zeros(12, np.float32)})
    with torch.no_grad():
        assert np.array_equal(up(torch.from_numpy(given)).numpy(), ops["depth_to_space_nchw"])


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_refused_by_name_and_change_nothing() -> None:
    encoder = made().saehd.encoder
    good = part_tensors(encoder)
    first = "down1/downs_0/conv1/weight:0"
    wrong = {
        "1 missing": {k: v for k, v in good.items() if k != first},
        "1 unknown": good | {"down9/weight:0": np.zeros(1, np.float32)},
        r"the shape \(5, 5, 3, 3\), expected \(5, 5, 3, 2\)": good | {first: np.zeros((5, 5, 3, 3), np.float32)},
    }
    for words, tensors in wrong.items():
        changed = {key: value + 1 for key, value in tensors.items()}
        with pytest.raises(WeightsError, match=words):
            load_part(encoder, changed)
    assert all(np.array_equal(good[key], value) for key, value in part_tensors(encoder).items())
    assert [tensor.file_shape for tensor in file_tensors(encoder)] == [value.shape for value in good.values()]


def test_the_layers_of_the_gan_are_those_of_deepfacelab_for_every_patch_size(shared: Path) -> None:
    tables = json.loads((shared / "reference" / "dfl-formats-tables.json").read_text())
    seen = 0
    for first, last, layers in tables["unet_gan_layers_by_patch_size"]["rows"]:
        for size in range(first, last + 1):
            assert [[3, stride] for stride in strides_for_patch(size)] == layers, size
            seen += 1
    assert seen == 638


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"archi": "df-"}, "archi is 'df-'"), ({"archi": "liae-x"}, "archi is 'liae-x'"),
        ({"archi": None}, "archi is None"),
        ({"resolution": 80}, "multiple of 32"), ({"archi": "df", "resolution": 72}, "multiple of 16"),
        ({"archi": "df-t", "resolution": 48}, "multiple of 32"), ({"resolution": 1 << 40}, "multiple of 32 up to 2048"),
        ({"ae_dims": 0}, "ae_dims is 0"), ({"e_dims": "64"}, "e_dims is '64'"), ({"d_dims": True}, "d_dims is True"),
        ({"d_mask_dims": 99999}, "d_mask_dims is 99999"),
        ({"gan_power": 0.1, "gan_patch_size": 2}, "gan_patch_size is 2"),
        ({"gan_power": 0.1, "gan_patch_size": 640}, "halves a picture"),
        ({"gan_power": 0.1, "gan_patch_size": 8, "gan_dims": 4000}, "gan_dims is 4000"),
    ],
)  # fmt: skip
def test_options_that_no_network_can_be_made_of_are_refused_by_name(options: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        made(**options)


def test_letters_may_stand_in_any_order_and_more_than_once() -> None:
    one, other = (NetworkSpec.from_options(OPTIONS | {"archi": archi}) for archi in ("liae-udt", "liae-tddu"))
    names = [[tensor.key for tensor in file_tensors(Saehd(spec))] for spec in (one, other)]
    assert names[0] == names[1]
    assert other.archi == "liae-tddu"


def test_one_seed_draws_one_network() -> None:
    first, again, different = (networks_of(OPTIONS, seed=seed).saehd.encoder for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(different.parameters()))


def test_a_gan_whose_dims_reach_the_largest_width_answers_for_each_pixel() -> None:
    judge = PatchDiscriminator(64, 30, 300)
    for weight in judge.parameters():
        torch.nn.init.zeros_(weight)
    center, per_pixel = judge(torch.rand(1, 3, 64, 64))
    assert per_pixel.shape == (1, 1, 64, 64)
    assert center.shape[1] == 1
