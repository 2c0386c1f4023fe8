"""What the configuration says of groups, and what is set over it."""

from __future__ import annotations

import pytest

from aptask.errors import InvalidArguments
from aptask.model.group import GroupSetting
from aptask.scheduling.groups import Groups


def set_(groups: Groups, name: str, slots: int | None = None, paused: bool | None = None) -> None:
    groups.set(name, groups.asked(name, slots, paused))


def test_at_first_it_is_as_the_configuration_says() -> None:
    groups = Groups(4)
    assert groups.names() == ["default"]
    assert (groups.slots("default"), groups.paused("default")) == (4, False)
    assert groups.overridden("default") is None


def test_what_is_set_wins_over_the_configuration_and_over_another_one() -> None:
    groups = Groups(4)
    set_(groups, "default", slots=2)
    assert (groups.slots("default"), groups.overridden("default")) == (2, 4)
    groups.configure(8)
    assert (groups.slots("default"), groups.overridden("default")) == (2, 8)


def test_what_is_set_to_what_the_configuration_says_follows_it_again() -> None:
    groups = Groups(4)
    set_(groups, "default", slots=2)
    set_(groups, "default", slots=4)
    groups.configure(8)
    assert (groups.slots("default"), groups.overridden("default")) == (8, None)


def test_slots_and_pause_are_set_one_without_the_other() -> None:
    groups = Groups(4)
    set_(groups, "default", slots=2)
    set_(groups, "default", paused=True)
    assert (groups.slots("default"), groups.paused("default")) == (2, True)
    set_(groups, "default", slots=3)
    assert (groups.slots("default"), groups.paused("default")) == (3, True)


def test_asking_changes_nothing() -> None:
    groups = Groups(4)
    assert groups.asked("gpu", 2, None) == GroupSetting(slots=2)
    assert groups.names() == ["default"]


def test_a_group_is_made_when_something_is_set_for_it() -> None:
    groups = Groups(4)
    set_(groups, "gpu", slots=0)
    set_(groups, "cpu", paused=True)
    assert groups.names() == ["default", "cpu", "gpu"]
    assert (groups.slots("gpu"), groups.slots("cpu")) == (0, 1)
    assert groups.overridden("gpu") is None


def test_a_group_that_there_is_not_cannot_be_read() -> None:
    with pytest.raises(InvalidArguments, match="gpu"):
        Groups(4).asked("gpu", None, None)


def test_what_was_set_is_restored() -> None:
    groups = Groups(4)
    groups.restore({"default": GroupSetting(slots=1, paused=True), "gpu": GroupSetting(slots=2)})
    assert (groups.slots("default"), groups.paused("default")) == (1, True)
    assert groups.names() == ["default", "gpu"]
