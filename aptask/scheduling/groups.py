"""The groups of jobs: how many of each run at once, and whether any is started.

The configuration says it, and what an admin has set wins over that, restarts included. Pure: who
asks keeps what is set. Rules:

- What is set to what the configuration says is not set any more: it follows the configuration.
- A group that is named for the first time is made; where nothing says its slots, it has one.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aptask.errors import InvalidArguments
from aptask.model.group import GroupSetting
from aptask.model.statistics import DEFAULT_GROUP

SLOTS_OF_NEW_GROUP = 1


class Groups:
    """What is said of each group.

    Args:
        slots: of the group "default", as the configuration says.
    """

    def __init__(self, slots: int) -> None:
        self._configured = {DEFAULT_GROUP: slots}
        self._settings: dict[str, GroupSetting] = {}

    def names(self) -> list[str]:
        """The groups that there are, the default one first."""
        made = sorted(self._settings.keys() - self._configured.keys())
        return [*self._configured, *made]

    def slots(self, name: str) -> int:
        """How many of its jobs run at once."""
        setting = self.setting(name).slots
        return self._configured.get(name, SLOTS_OF_NEW_GROUP) if setting is None else setting

    def paused(self, name: str) -> bool:
        """Whether none of those that wait is started."""
        return self.setting(name).paused

    def overridden(self, name: str) -> int | None:
        """What the configuration says of its slots, where that does not count; else None."""
        configured = self._configured.get(name)
        return None if configured == self.slots(name) else configured

    def setting(self, name: str) -> GroupSetting:
        """What is set for a group over the configuration."""
        return self._settings.get(name, GroupSetting())

    def asked(self, name: str, slots: int | None, paused: bool | None) -> GroupSetting:
        """What would be set for a group; nothing is changed yet.

        Args:
            name: of the group.
            slots: None: as it is.
            paused: None: as it is.

        Raises:
            InvalidArguments: there is no such group, and nothing to be set that would make it.
        """
        if slots is None and paused is None and name not in self.names():
            raise InvalidArguments(
                f"no group `{name}`: it is made when it is paused, or its slots are set"
            )
        setting = self.setting(name)
        if slots is not None:
            as_configured = slots == self._configured.get(name)
            setting = msgspec.structs.replace(setting, slots=None if as_configured else slots)
        if paused is not None:
            setting = msgspec.structs.replace(setting, paused=paused)
        return setting

    def set(self, name: str, setting: GroupSetting) -> None:
        """Have a group be as it is set; one that is named for the first time is made."""
        self._settings[name] = setting

    def restore(self, settings: Mapping[str, GroupSetting]) -> None:
        """Have all groups be as an earlier daemon has set them."""
        self._settings = dict(settings)

    def configure(self, slots: int) -> None:
        """Have the configuration say something else.

        Args:
            slots: of the group "default".
        """
        self._configured[DEFAULT_GROUP] = slots
