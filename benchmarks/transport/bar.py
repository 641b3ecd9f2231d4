"""A figure and what it has to be."""

from typing import NamedTuple


class Bar(NamedTuple):
    """A figure, its required minimum (or maximum), and the aim."""

    figure: str
    value: float
    bar: float
    aim: float
    at_most: bool

    @property
    def held(self) -> bool:
        """Whether the figure meets the requirement."""
        return self.value <= self.bar if self.at_most else self.value >= self.bar
