"""One step of CycleGAN, held against its paper's formula."""

from __future__ import annotations

from adversarial_samples import (
    about,
    batch,
    for_discriminator,
    for_generator,
    l1,
    recipe_of,
    stepped,
)


def test_cyclegan_is_equation_3_of_zhu_with_the_identity_of_section_5_2() -> None:
    recipe = recipe_of("cyclegan", adversarial={"weight": 3, "identity_weight": 5})
    shown = batch()
    method, turns, found = stepped(recipe, shown)
    x, y = shown.images, shown.targets
    names = ("there", "back", "critic of there", "critic of back")
    there, back, judge_y, judge_x = (method.networks[name] for name in names)
    g_x, f_y = there(x)[0], back(y)[0]
    cycle = l1(back(g_x)[0], x) + l1(there(f_y)[0], y)
    fooled = for_generator(judge_y(g_x)) + for_generator(judge_x(f_y))
    same = l1(there(y)[0], y) + l1(back(x)[0], x)
    assert turns.losses["generator"] == about(3 * fooled + 10 * cycle + 5 * same)
    told = for_discriminator(judge_y(y), judge_y(g_x)) + for_discriminator(judge_x(x), judge_x(f_y))
    assert turns.losses["discriminator"] == about(told)
    assert float(found["cycle there"] + found["cycle back"]) == about(10 * cycle)
