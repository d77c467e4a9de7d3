"""``qperf train STEP``: train the network of a step's plugin. What is trained, and how, is the plugin's own affair."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from qperf_app.cli.allotment import allotted_processors
from qperf_app.cli.arguments import count
from qperf_app.cli.errors import DONE, USAGE
from qperf_app.plugins import KineticsPlugin
from qperf_app.plugins.manager import InstalledPlugin, PluginOptionError, load_plugins, make
from qperf_app.plugins.options import check_ranges, help_of
from qperf_app.plugins.steps import KINETICS
from qperf_app.training import Trainer, TrainingJob
from qperf_app.training.cases import CaseKind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command; each trainer adds its own options, listed by ``qperf train STEP --help``."""
    trainable = _trainable()
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    for step, plugins in trainable.items():
        for_step = steps.add_parser(step, help=f"plugin {', '.join(plugins)}", formatter_class=_Formatter)
        _common_arguments(for_step, list(plugins))
        known: dict[str, str] = {}
        for plugin in plugins.values():
            options = dataclasses.fields(load_trainer(plugin).Options)
            shared = [option for option in options if option.name in known]
            also = ", ".join(
                f"{_flag(option)} as {known[option.name]} (default: {option.default})" for option in shared
            )
            group = for_step.add_argument_group(f"options of {plugin.name}", f"and {also}" if also else None)
            for option in options:
                if option.name not in known:
                    _add_option(group, option)
                    known[option.name] = plugin.name


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not the absence of one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def _common_arguments(parser: argparse.ArgumentParser, names: list[str]) -> None:
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for weights, model card, curves and checkpoint")
    parser.add_argument("--plugin", choices=names, default=names[0], help="whose network to train")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="of all draws")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--start-from", type=Path, metavar="WEIGHTS", help="weights to start from, for fine-tuning")
    parser.add_argument(
        "--dataset",
        nargs=2,
        type=Path,
        action="append",
        default=[],
        metavar=("RAW", "MASKS"),
        help="also train on this BIDS dataset with the masks of that derivative dataset; may be repeated",
    )
    parser.add_argument(
        "--from-run",
        type=Path,
        action="append",
        default=[],
        metavar="OUT_DIR",
        help="learn from the curves of this output folder of qperf-app; may be repeated",
    )
    parser.add_argument(
        "--anatomy",
        type=Path,
        metavar="FOLDER",
        help="cine images with drawn cavities: a part of the cases lies on them",
    )
    parser.add_argument("--participant-label", nargs="+", metavar="LABEL", help="only these participants of --from-run")
    parser.add_argument(
        "--motion-correction", default="chained", metavar="NAME", help="plugin that aligns the series of --dataset"
    )


def _flag(option: dataclasses.Field[Any]) -> str:
    return "--" + option.name.replace("_", "-")


def _add_option(group: Any, option: dataclasses.Field[Any]) -> None:
    """Add an option; one that is not given is left to the default of the trainer that is chosen."""
    text = help_of(option)
    if option.default is False:
        group.add_argument(_flag(option), action="store_true", default=argparse.SUPPRESS, help=text)
        return
    kind = type(option.default)
    if option.default not in (None, ""):
        text = f"{text} (default: {option.default})"
    group.add_argument(_flag(option), type=kind, default=argparse.SUPPRESS, metavar=kind.__name__.upper(), help=text)


def _options(args: argparse.Namespace, trainer: type[Trainer]) -> dict[str, Any]:
    """Options given for a trainer.

    Raises
    ------
    ValueError
        For an option of another plugin's trainer.
    """
    own = {option.name for option in dataclasses.fields(trainer.Options)}
    for plugin in _trainable()[args.step].values():
        for option in dataclasses.fields(load_trainer(plugin).Options):
            if option.name in args and option.name not in own:
                raise ValueError(f"{_flag(option)} is no option of plugin {args.plugin}")
    return {name: getattr(args, name) for name in own if name in args}


def _trainable() -> dict[str, dict[str, InstalledPlugin]]:
    """Plugins that can be trained, by step and name."""
    found: dict[str, dict[str, InstalledPlugin]] = {}
    for plugin in load_plugins().plugins.values():
        if getattr(plugin.cls, "trainer", ""):
            found.setdefault(plugin.step, {})[plugin.name] = plugin
    return found


def load_trainer(plugin: InstalledPlugin) -> type[Trainer]:
    """Import the trainer that a plugin names.

    Raises
    ------
    PluginOptionError
        Where it can't be imported or is no trainer.
    """
    where = str(plugin.cls.trainer)  # type: ignore[attr-defined]
    module, _, name = where.partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginOptionError(f"{plugin.step} plugin {plugin.name!r}: no trainer {where!r} ({error})") from None
    if not (isinstance(cls, type) and issubclass(cls, Trainer)):
        raise PluginOptionError(f"{plugin.step} plugin {plugin.name!r}: {where!r} is no Trainer")
    return cls


def run(args: argparse.Namespace) -> int:
    """Train; return 0, 2 where an option or the output folder is refused, or a dataset's own code."""
    from qperf_app.bids.errors import DatasetError, SelectionError

    try:
        if args.out.exists() and not args.out.is_dir():
            raise ValueError(f"OUT {args.out} is not a folder")
        trainer_class = load_trainer(_trainable()[args.step][args.plugin])
        options = trainer_class.Options(**_options(args, trainer_class))
        check_ranges(options)
        trainer = trainer_class(options)
        args.out.mkdir(parents=True, exist_ok=True)
        report = trainer.train(_job(args, trainer))
    except (ValueError, PluginOptionError) as error:
        print(f"qperf train {args.step}: {error}", file=sys.stderr)
        return USAGE
    except (DatasetError, SelectionError) as error:
        print(f"qperf train {args.step}: {error}", file=sys.stderr)
        return error.exit_code
    for name, value in report.figures.items():
        _say(f"{name}: {value:g}")
    print("\n".join(str(path) for path in report.files))
    return DONE


def _job(args: argparse.Namespace, trainer: Trainer) -> TrainingJob:
    return TrainingJob(
        out=args.out,
        seed=args.seed,
        threads=allotted_processors(),
        resume=args.resume,
        start_from=args.start_from,
        command=_command(args, trainer),
        simulated=_simulator(trainer.cases, args.seed, args.anatomy),
        anatomy="phantom" if args.anatomy is None else "phantom and cine images",
        drawn=_drawn(args, trainer.cases),
        say=_say,
        labeller=_labeller,
        scans=_scans(args, trainer),
    )


def _labeller(name: str, options: Mapping[str, Any]) -> KineticsPlugin:
    plugin: KineticsPlugin = make(load_plugins().get(KINETICS.name, name), options)
    return plugin


def _command(args: argparse.Namespace, trainer: Trainer) -> str:
    """The command that trains the same again, without paths."""
    words = ["qperf", "train", args.step, "OUT", "--plugin", args.plugin, "--seed", str(args.seed)]
    words += ["--start-from", args.start_from.name] if args.start_from else []
    words += ["--anatomy", "CINE"] if args.anatomy else []
    words += ["--dataset", "RAW", "MASKS"] * len(args.dataset) + ["--from-run", "OUT_DIR"] * len(args.from_run)
    words += ["--participant-label", *args.participant_label] if args.participant_label else []
    for option in dataclasses.fields(trainer.Options):
        if option.metadata.get("path"):
            continue
        value = getattr(trainer.options, option.name)
        if value is True:
            words.append(_flag(option))
        elif value != option.default:
            words += [_flag(option), str(value)]
    return shlex.join(words)


def _simulator(kind: CaseKind | None, seed: int, folder: Path | None) -> Any:
    """Maker of simulated cases of a kind, or None; on real anatomy where there are cine images."""
    if kind is None:
        if folder is not None:
            raise ValueError("this plugin is not trained on images: --anatomy has no use")
        return None
    import numpy as np

    from qperf_app.training.cases import is_held_out
    from qperf_app.training.cine import Anatomies
    from qperf_app.training.simulated_cases import simulate_case

    anatomies = None if folder is None else Anatomies(folder)

    def case(number: int) -> Any:
        draw = None if anatomies is None else partial(anatomies.draw, held_out=is_held_out(number))
        return simulate_case(kind, np.random.default_rng([seed, number]), anatomies=draw)

    return case


def _drawn(args: argparse.Namespace, kind: CaseKind | None) -> list[Any]:
    """Readers of the cases of the datasets given."""
    if not args.dataset:
        return []
    if kind is None:
        raise ValueError("this plugin is not trained on masks: --dataset has no use")
    from qperf_app.training.drawn_cases import find_drawn_cases

    return [
        case for raw, masks in args.dataset for case in find_drawn_cases(raw, masks, kind, args.motion_correction, _say)
    ]


def _scans(args: argparse.Namespace, trainer: Trainer) -> list[Any]:
    """Readers of the scans of the finished runs given."""
    if not args.from_run:
        return []
    if not trainer.from_runs:
        raise ValueError(f"plugin {args.plugin} does not learn from finished runs: --from-run has no use")
    from qperf_app.training.finished_runs import find_scans

    return [scan for out_dir in args.from_run for scan in find_scans(out_dir, args.participant_label, _say)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
