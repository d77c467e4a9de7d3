"""Plugins are found by entry point; whatever is wrong with one never stops the others."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from qperf_app.plugins import ConcentrationPlugin, KineticsPlugin, Resources, hookimpl
from qperf_app.plugins.answers import loaded_files_of, problems_of, resources_of
from qperf_app.plugins.manager import (
    OWN_DISTRIBUTION,
    PluginFaultError,
    PluginOptionError,
    UnknownPluginError,
    load_plugins,
    register,
    resolve_options,
)
from qperf_app.plugins.options import help_of, range_of
from qperf_app.plugins.steps import STEPS
from qperf_app.plugins.steps.spec import slot_of


@dataclass(frozen=True)
class Options:
    order: int = field(default=2, metadata={"help": "order"})
    smooth: float = field(default=0.5, metadata={"help": "smoothing"})


class Good(KineticsPlugin):
    name, version, model, summary = "good", "1", "Model", "does nothing"
    Options = Options

    def fit(self, curves: Any, aif: Any, constants: Any, context: Any) -> Any:
        raise AssertionError("never called here")


class _EntryPoint:
    """Stands for an installed entry point whose module has one hook."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        self.name, self.value, self.dist, self.load = name, name, None, load


def entry(name: str, **hooks: Any) -> EntryPoint:
    module = types.ModuleType(name)
    for hook, returned in hooks.items():
        setattr(module, hook, hookimpl(lambda returned=returned: returned, specname=hook))
    return _EntryPoint(name, lambda: module)  # type: ignore[return-value]


def failing(name: str, error: BaseException) -> EntryPoint:
    def load() -> Any:
        raise error

    return _EntryPoint(name, load)  # type: ignore[return-value]


def only_reason(*entries: EntryPoint) -> str:
    registry = register([entry("fine", qperf_kinetics=Good), *entries])
    assert registry.names("kinetics") == ["good"]
    assert len(registry.broken) == 1
    assert entries[-1].name in str(registry.broken[0])
    return registry.broken[0].reason


def test_built_in_plugins_come_in_by_entry_point() -> None:
    registry = load_plugins()
    assert not registry.broken
    assert set(registry.names("motion-correction")) == {"none", "chained", "elastix", "progressive"}
    assert {"fermi", "nlls"} <= set(registry.names("kinetics"))


def test_broken_import_is_named_and_the_rest_goes_on() -> None:
    assert "ImportError: no such library" in only_reason(failing("acme", ImportError("no such library")))


def test_a_plugin_that_exits_on_import_does_not_stop_the_host() -> None:
    assert "SystemExit" in only_reason(failing("acme", SystemExit(3)))


def test_duplicate_name_is_refused_and_names_the_owner() -> None:
    assert "already there, from distribution 'fine'" in only_reason(entry("acme", qperf_kinetics=Good))


def test_wrong_signature() -> None:
    class Wrong(Good):
        name = "wrong"

        def fit(self, curves: Any) -> Any:  # type: ignore[override]
            raise AssertionError("never called here")

    reason = only_reason(entry("acme", qperf_kinetics=Wrong))
    assert "must take (curves, aif, constants, context)" in reason


@pytest.mark.parametrize(
    ("written_for", "reason"),
    [
        (0, r"plugin API version 0, this step takes 1 to 2\. .* version 1: the first interface; version 2: loaded_"),
        (3, r"plugin API version 3, this qperf-app has version 2: it needs a newer one"),
        ("2", r"api_version is '2'; it must be a whole number, 1 to 2"),
    ],
)
def test_api_version_that_the_step_does_not_take(written_for: Any, reason: str) -> None:
    class Old(Good):
        name, api_version = "old", written_for

    assert re.search(reason, only_reason(entry("acme", qperf_kinetics=Old)))


def test_an_older_plugin_loads_where_its_step_has_not_changed_since(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older(Good):
        api_version = 1

    found = [entry("acme", qperf_kinetics=Older)]
    assert register(found).names("kinetics") == ["good"]
    step = STEPS["kinetics"]
    monkeypatch.setitem(STEPS, "kinetics", replace(step, slot=replace(slot_of(step), since=2)))
    (broken,) = register(found).broken
    assert "version 1, this step takes 2 to 2" in broken.reason and "version 1: the first" not in broken.reason


def test_unknown_hook() -> None:
    assert "qperf_surprise" in only_reason(entry("acme", qperf_surprise=Good))


@pytest.mark.parametrize("name", ["two words", "dash-ed", "", "Ümlaut"])
def test_name_must_fit_a_file_name(name: str) -> None:
    class Named(Good):
        pass

    Named.name = name
    assert "does not match" in only_reason(entry("acme", qperf_kinetics=Named))


def test_class_of_another_step() -> None:
    class Other(ConcentrationPlugin):
        name, version, summary = "other", "1", "wrong step"

        def convert(self, series: Any, tissue: Any, context: Any) -> Any:
            raise AssertionError("never called here")

    assert "'model'" in only_reason(entry("acme", qperf_kinetics=Other))


def test_hook_that_raises() -> None:
    module = types.ModuleType("acme")

    def hook() -> type:
        raise RuntimeError("licence server is down")

    module.qperf_kinetics = hookimpl(hook, specname="qperf_kinetics")  # type: ignore[attr-defined]
    assert "licence server is down" in only_reason(_EntryPoint("acme", lambda: module))  # type: ignore[arg-type]


def test_disabled_by_entry_point_is_never_imported() -> None:
    registry = register([failing("acme", AssertionError("imported"))], disabled=["acme"])
    assert not registry.broken


def test_disabled_names_that_nothing_has() -> None:
    found = [entry("fine", qperf_kinetics=Good), failing("acme", ImportError("broken"))]
    assert register(found, ["good", "acme", "nosuch"]).not_there == ("nosuch",)


def test_disabled_by_plugin_name() -> None:
    assert register([entry("fine", qperf_kinetics=Good)], disabled=["good"]).names("kinetics") == []


def test_unknown_plugin_lists_those_there_are() -> None:
    with pytest.raises(UnknownPluginError, match=r"no plugin named 'magic' .*good"):
        register([entry("fine", qperf_kinetics=Good)]).get("kinetics", "magic")


@dataclass(frozen=True)
class Ranged:
    """Options with a range, one without, and two that must agree."""

    share: float = field(default=0.5, metadata={"help": "a share", "range": (0.0, 1.0)})
    count: int | None = field(default=None, metadata={"help": "a count", "range": (1, math.inf)})
    free: float = field(default=0.0, metadata={"help": "any"})

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("option count is 13; it must not be")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"share": 1.5}, "kinetics plugin 'ranged', option 'share' is 1.5; it must be 0 to 1"),
        ({"share": math.nan}, "option 'share' is nan; it must be 0 to 1"),
        ({"count": 0}, "option 'count' is 0; it must be 1 or more"),
        ({"free": math.nan}, "option 'free' is nan; it must be a number"),
        ({"count": 13}, "kinetics plugin 'ranged': option count is 13; it must not be"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], reason: str) -> None:
    class Plugin(Good):
        name, Options = "ranged", Ranged

    plugin = register([entry("fine", qperf_kinetics=Plugin)]).get("kinetics", "ranged")
    assert resolve_options(plugin, {"share": 1.0, "count": 1, "free": math.inf}) == Ranged(1.0, 1, math.inf)
    with pytest.raises(PluginOptionError) as error:
        resolve_options(plugin, options)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_default_out_of_its_range_breaks_the_plugin() -> None:
    @dataclass(frozen=True)
    class Bad:
        share: float = field(default=2.0, metadata={"help": "a share", "range": (0.0, 1.0)})

    class Plugin(Good):
        Options = Bad

    assert "option 'share' is 2.0; it must be 0 to 1" in only_reason(entry("acme", qperf_kinetics=Plugin))


@pytest.mark.parametrize(
    ("step", "name", "options"),
    [
        ("kinetics", "nlls", {"max_iterations": -5}),
        ("kinetics", "nlls", {"min_delay": 5, "max_delay": 1}),
        ("kinetics", "nlls", {"min_delay": math.nan}),
        ("kinetics", "fermi", {"max_log_sd": -1}),
        ("kinetics", "hmc", {"draws": 5}),
        ("kinetics", "pinn", {"steps": -1}),
        ("blood-pool", "kmeans", {"aif_fraction": 2.0}),
        ("blood-pool", "kmeans", {"min_transit": 5, "max_transit": 1}),
        ("blood-pool", "kmeans", {"clusters": 0}),
        ("blood-pool", "resunet", {"threshold": 7}),
        ("concentration", "sr-flash", {"relaxivity": 4500}),
        ("concentration", "sr-flash", {"blood_t1": 1550}),
        ("concentration", "sr-flash", {"minimum_sensitivity": 5}),
        ("concentration", "sr-flash", {"scale_window": 2}),
        ("concentration", "linear", {"t1_ratio": 0}),
        ("motion-correction", "progressive", {"floor": 2}),
        ("myocardium", "classical", {"blood_level": 7}),
        ("myocardium", "classical", {"max_thickness": 0}),
    ],
)
def test_built_in_plugins_refuse_options_out_of_range(step: str, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(PluginOptionError, match=rf"{step} plugin '{name}'.*option '{next(iter(options))}'"):
        resolve_options(load_plugins().get(step, name), options)


def test_every_number_of_a_built_in_plugin_has_a_range_that_its_help_tells() -> None:
    for plugin in load_plugins().plugins.values():
        if plugin.distribution == OWN_DISTRIBUTION:
            options: Any = plugin.cls.Options  # type: ignore[attr-defined]
            for option in fields(options):
                if re.search(r"\b(int|float)\b", str(option.type)):
                    assert help_of(option).endswith(f"[{range_of(option)}]") and range_of(option), option.name


def test_options_are_typed_and_filled() -> None:
    plugin = register([entry("fine", qperf_kinetics=Good)]).get("kinetics", "good")
    assert resolve_options(plugin, {"order": 3}) == Options(order=3, smooth=0.5)
    for value in ("many", "3", True, 3.0):
        with pytest.raises(PluginOptionError, match=rf"kinetics plugin 'good', option 'order': .*got {value!r}$"):
            resolve_options(plugin, {"order": value})
    with pytest.raises(PluginOptionError, match=r"kinetics plugin 'good', option 'smooth': .*got True$"):
        resolve_options(plugin, {"smooth": True})
    assert resolve_options(plugin, {"smooth": 1}).smooth == 1.0
    with pytest.raises(PluginOptionError, match="no option 'colour'"):
        resolve_options(plugin, {"colour": 1})


def test_what_is_installed_meanwhile_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = [each.distribution for each in load_plugins().broken]
    assert "qperf-late" not in before and load_plugins() is load_plugins()
    info = tmp_path / "qperf_late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: qperf-late\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qperf_app]\nlate = qperf_late_that_is_not_there\n")
    assert "qperf-late" in [each.distribution for each in load_plugins().broken]


def unlike_good(**attributes: Any) -> type:
    return type("Odd", (Good,), attributes)


def ending(self: Any, *arguments: Any) -> Any:
    raise SystemExit(4)


@dataclass(frozen=True)
class Unkeepable:
    where: Path = field(default=Path(), metadata={"help": "a path"})


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (unlike_good(name="other", __init__=ending), "can't be made with its default options: SystemExit: 4"),
        (unlike_good(name="n" * 65), "its name has more than 64 letters"),
        (unlike_good(name="other", citations="Klotz 1999"), "citations must be a tuple of texts, it is 'Klotz 1999'"),
        (unlike_good(name="other", citations=None), "citations must be a tuple of texts, it is None"),
        (unlike_good(name="other", requires="FlipAngle"), "requires must be a tuple of texts, it is 'FlipAngle'"),
        (unlike_good(name="other", Options=Unkeepable), "default of option 'where' is nothing that YAML keeps"),
    ],
)
def test_what_would_end_a_run_later_is_refused_on_loading(cls: type, reason: str) -> None:
    assert reason in only_reason(entry("odd", qperf_kinetics=cls))


@pytest.mark.parametrize(
    ("ask", "said", "reason"),
    [
        (
            lambda p: problems_of("it", p, {}, (1, 1, 1, 1)),
            {"problems": "FlipAngle"},
            "expected texts, got 'FlipAngle'",
        ),
        (lambda p: problems_of("it", p, {}, (1, 1, 1, 1)), {"problems": None}, "problems() failed: TypeError"),
        (lambda p: resources_of("it", p, (1, 1, 1, 1)), {"resources": None}, "resources() failed: AttributeError"),
        (lambda p: resources_of("it", p, (1, 1, 1, 1)), {"resources": Resources(math.nan)}, "memory_gb is nan"),
        (lambda p: loaded_files_of("it", p), {"loaded_files": None}, "loaded_files() failed: TypeError"),
        (lambda p: loaded_files_of("it", p), {"loaded_files": {"weights": 3}}, "must give texts by name"),
    ],
)
def test_what_a_plugin_says_of_itself_is_checked(ask: Callable[[Any], Any], said: dict[str, Any], reason: str) -> None:
    methods = {name: lambda *_, value=value: value for name, value in said.items()}
    with pytest.raises(PluginFaultError, match="it: ") as error:
        ask(unlike_good(**methods)())
    assert reason in str(error.value)
