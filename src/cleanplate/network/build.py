"""A network by its name. Weights come from torch's default initialisation: seed torch before for the same ones."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from cleanplate.network.original import Original, OriginalSmall
from cleanplate.network.platenet import PlateNet
from cleanplate.types import InputError

NetworkName = Literal["platenet", "original", "original-small"]


def build(name: str) -> nn.Module:
    """A new network, called as network(plate, frame, plate_depth | None) -> Output. Raises InputError on a new name."""
    match name:
        case "platenet":
            return PlateNet()
        case "original":
            return Original()
        case "original-small":
            return OriginalSmall()
        case _:
            raise InputError(f"no network is called {name!r}; there are {', '.join(get_args(NetworkName))}")
