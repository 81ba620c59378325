"""What the columns of the table of cases are called, and what their headers say."""

from __future__ import annotations

from slicer.i18n import tr as _

SUBJECT, VOLUME, TARGET, SLICES, USE, MASK, KIND = range(7)


def columnTitles() -> list[str]:
    """Return the titles in the order of the columns' numbers."""
    return [
        _("Subject"),
        _("Volume"),
        _("Labels"),
        _("Slices"),
        _("Use"),
        _("Mask"),
        _("Kind"),
    ]


def columnTips() -> dict[int, str]:
    """Return what the headers say whose meaning is always the same."""
    return {
        SUBJECT: _("Who it is. Give all images of one person the same name."),
        VOLUME: _("The image to learn from."),
        KIND: _(
            "Source: what the model reads. Target: what it makes. The images need not belong "
            "together."
        ),
        MASK: _(
            "What counts: only voxels in a segment of it, or where it is not 0, teach and are "
            "measured. None: all."
        ),
        USE: _(
            "auto: people are divided for you into those that train and those that validate. "
            "test: never seen while training."
        ),
    }


def targetTexts(forLabels: bool, needed: bool) -> tuple[str, str, str]:
    """Return the title of the targets, and what the headers of targets and slices say.

    Args:
        forLabels: Targets are segmentations and label maps, not volumes.
        needed: Every image has one.
    """
    if forLabels:
        return (
            _("Labels"),
            _(
                "What the model shall make of it. A slice counts as labelled when anything in "
                "it is marked; all that is not marked in it is taught as background."
            ),
            _(
                "Labelled slices, found from the segmentation, counted from 0. Change them as "
                "3;9;17-20; an emptied cell goes back to those found."
            ),
        )
    slices = _("Slices to learn from, counted from 0, as 3;9;17-20. Empty: all.")
    if needed:
        tip = _("The volume that the model shall make of it, on the same grid.")
        return _("Target"), tip, slices
    tip = _(
        "Nothing: the volume is clean, and the noise that training adds to it is what the model "
        "learns to take away. Or the clean image of the same grid."
    )
    return _("Target (if other)"), tip, slices
