"""Contrast as WCAG 2.1 AA asks, since no checker can judge what is inside a picture."""

from __future__ import annotations

import re

import pytest

from bench.observe import Verdict
from reports.palette import DARK, LIGHT, MARK_CONTRAST, TEXT_CONTRAST, Palette, contrast
from reports.points import MOST_SERIES

SCHEMES = pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])


def test_contrast_of_known_pairs() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#123456", "#123456") == 1.0
    with pytest.raises(ValueError, match="#rrggbb"):
        contrast("red", "#ffffff")


@SCHEMES
def test_text_is_readable_on_both_backgrounds(scheme: Palette) -> None:
    texts = [scheme.text, scheme.muted, scheme.link, *(scheme.verdict(verdict) for verdict in Verdict)]
    for colour in texts:
        assert contrast(colour, scheme.page) >= TEXT_CONTRAST, colour
        assert contrast(colour, scheme.surface) >= TEXT_CONTRAST, colour


@SCHEMES
def test_marks_and_borders_of_controls_are_visible(scheme: Palette) -> None:
    for colour in (*scheme.series, scheme.control):
        assert contrast(colour, scheme.page) >= MARK_CONTRAST, colour
        assert contrast(colour, scheme.surface) >= MARK_CONTRAST, colour


@SCHEMES
def test_there_is_a_colour_for_every_series_and_no_two_are_alike(scheme: Palette) -> None:
    assert len(set(scheme.series)) == MOST_SERIES


@SCHEMES
def test_every_property_is_declared(scheme: Palette) -> None:
    declared = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", scheme.properties()))
    assert declared["not-applicable"] == scheme.not_applicable
    assert declared["series-8"] == scheme.series[7]
    assert len(declared) == 7 + len(Verdict) + MOST_SERIES
