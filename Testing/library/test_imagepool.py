"""The history of translated images: what it gives, and that it goes on as if never stopped."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from DeepTranslateLib.engine.checkpoint import load_state, save_state
from DeepTranslateLib.engine.imagepool import ImagePool


def numbered(*numbers: int) -> Tensor:
    """Images that are their number everywhere."""
    return torch.tensor(numbers).float().reshape(-1, 1, 1, 1).expand(-1, 2, 3, 3)


def numbers(images: Tensor) -> list[int]:
    assert all(torch.equal(each, each.flatten()[0].expand_as(each)) for each in images)
    return [int(each.flatten()[0]) for each in images]


def test_a_pool_without_room_gives_what_comes() -> None:
    pool = ImagePool(0)
    before = torch.get_rng_state()
    for n in range(5):
        assert numbers(pool.mixed(numbered(n, n + 1))) == [n, n + 1]
    assert len(pool) == 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pool_fills_with_the_first_images_and_gives_them_back() -> None:
    pool = ImagePool(4)
    assert numbers(pool.mixed(numbered(0, 1, 2))) == [0, 1, 2]
    assert len(pool) == 3
    assert pool.mixed(numbered(3, 4, 5)).shape == (3, 2, 3, 3)
    assert len(pool) == 4


def test_every_image_is_given_once_or_still_kept() -> None:
    torch.manual_seed(0)
    pool, given = ImagePool(5), []
    for n in range(0, 60, 3):
        given += numbers(pool.mixed(numbered(n, n + 1, n + 2)))
    kept = numbers(torch.stack(pool.state()["images"]))
    assert len(kept) == 5
    # The first five were given when they came, and again when they were exchanged.
    again = [n for n in range(5) if n not in kept]
    assert sorted(given + kept) == sorted([*range(60), *range(5)])
    assert all(given.count(n) == 2 for n in again)


def test_half_of_the_images_are_earlier_ones_from_any_place() -> None:
    torch.manual_seed(1)
    pool = ImagePool(10)
    pool.mixed(numbered(*range(10)))
    places, new = [0] * 10, 0
    for n in range(10, 2010):
        kept = [int(image[0, 0, 0]) for image in pool.state()["images"]]
        (given,) = numbers(pool.mixed(numbered(n)))
        if given == n:
            new += 1
        else:
            places[kept.index(given)] += 1
    assert 900 < new < 1100
    assert min(places) > 60  # 100 are expected of each


def test_images_are_copies_without_gradient() -> None:
    pool, images = ImagePool(3), numbered(0, 1).clone().requires_grad_()
    given = pool.mixed(images)
    assert not given.requires_grad
    with torch.no_grad():
        images.fill_(7)
        given.fill_(8)
    assert numbers(torch.stack(pool.state()["images"])) == [0, 1]


def test_a_pool_that_was_stored_goes_on_in_the_same_way(tmp_path: Path) -> None:
    torch.manual_seed(2)
    pool = ImagePool(4)
    for n in range(0, 20, 2):
        pool.mixed(numbered(n, n + 1))
    save_state(tmp_path / "state.safetensors", {"pool": pool.state()})
    generator = torch.get_rng_state()
    expected = [numbers(pool.mixed(numbered(n, n + 1))) for n in range(20, 60, 2)]
    resumed = ImagePool(4)
    resumed.restore(load_state(tmp_path / "state.safetensors")["pool"])
    torch.set_rng_state(generator)
    assert [numbers(resumed.mixed(numbered(n, n + 1))) for n in range(20, 60, 2)] == expected
    assert any(given != [n, n + 1] for given, n in zip(expected, range(20, 60, 2), strict=True))


def test_a_pool_that_became_smaller_is_refused() -> None:
    pool = ImagePool(3)
    pool.mixed(numbered(0, 1, 2))
    with pytest.raises(ValueError, match=r"3 images .* one of 2: adversarial\.pool was changed"):
        ImagePool(2).restore(pool.state())


def shapes(pool: ImagePool) -> list[tuple[int, ...]]:
    return sorted(tuple(image.shape) for image in pool.state()["images"])


def test_images_of_another_size_are_exchanged_among_themselves() -> None:
    torch.manual_seed(3)
    pool = ImagePool(4)
    pool.mixed(torch.zeros(2, 1, 4, 4))
    pool.mixed(torch.zeros(2, 1, 4, 5))
    earlier = 0
    for n in range(1, 41):
        width = (4, 5)[n % 2]
        given = pool.mixed(torch.full((2, 1, 4, width), float(n)))
        assert given.shape == (2, 1, 4, width)
        earlier += int((given[:, 0, 0, 0] != n).sum())
    assert shapes(pool) == [(1, 4, 4)] * 2 + [(1, 4, 5)] * 2
    assert 20 < earlier < 60


def test_a_size_that_comes_when_the_pool_is_full_takes_a_place_of_the_commonest() -> None:
    torch.manual_seed(4)
    pool = ImagePool(5)
    pool.mixed(torch.zeros(3, 1, 4, 4))
    pool.mixed(torch.zeros(2, 1, 4, 5))
    late = torch.full((1, 1, 4, 6), 1.0)
    assert torch.equal(pool.mixed(late), late)
    assert shapes(pool) == [(1, 4, 4)] * 2 + [(1, 4, 5)] * 2 + [(1, 4, 6)]
    # It is a copy, and from now on the discriminator is shown it again.
    late.fill_(99)
    given = [float(pool.mixed(torch.full((1, 1, 4, 6), n))[0, 0, 0, 0]) for n in range(2, 30)]
    assert 1.0 in given
    assert 99.0 not in given
    assert shapes(pool) == [(1, 4, 4)] * 2 + [(1, 4, 5)] * 2 + [(1, 4, 6)]


def test_of_one_size_a_full_pool_draws_as_it_always_has() -> None:
    """First whether an image is exchanged, then for which."""
    torch.manual_seed(5)
    pool, kept = ImagePool(3), [0, 1, 2]
    pool.mixed(numbered(*kept))
    before = torch.get_rng_state()
    given = [numbers(pool.mixed(numbered(n)))[0] for n in range(3, 60)]
    torch.set_rng_state(before)
    expected = []
    for n in range(3, 60):
        if torch.rand(()) < 0.5:
            expected.append(n)
            continue
        place = int(torch.randint(3, ()))
        expected.append(kept[place])
        kept[place] = n
    assert given == expected
    assert numbers(torch.stack(pool.state()["images"])) == kept
