"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Tests that take more than about a second of processor time, by how their id begins: whole files, classes, functions.
#: They are marked ``slow``, and `make check` leaves them out. So is whoever asks for TensorFlow, which takes seconds to
#: import.
SLOW = (
    "test_app.py",
    "test_bids_spec.py::test_a_validator_that_fails",
    "test_bids_spec.py::test_command_names_file_and_field",
    "test_bids_spec.py::test_derivatives",
    "test_bids_spec.py::test_every_check_of_ours",
    "test_bids_spec.py::test_examples_are_valid",
    "test_bids_spec.py::test_hand_ins_need_no_more",
    "test_bids_spec.py::test_raw",
    "test_bids_spec.py::test_validator_needs_no_network",
    "test_cli_refusals.py::test_invalid_dataset_is_refused",
    "test_cli_refusals.py::test_who_is_not_in_the_table",
    "test_cluster.py",
    "test_cnn.py",
    "test_conformance.py::TestChained",
    "test_conformance.py::TestConvolutional",
    "test_conformance.py::TestPhysicsInformed",
    "test_conformance.py::TestPosterior",
    "test_conformance.py::TestProgressive",
    "test_conformance.py::TestResUNet",
    "test_conformance.py::TestSaliency",
    "test_conformance_meaning.py",
    "test_dicom_export.py",
    "test_dicom_identity.py",
    "test_dicom_import.py",
    "test_dicom_maps.py",
    "test_dicom_nifti.py",
    "test_dicom_real_headers.py",
    "test_dicom_scanner.py",
    "test_dicom_sources.py",
    "test_dual_bolus.py",
    "test_elastix.py",
    "test_ends.py",
    "test_failures.py",
    "test_gate.py::test_a_mask_with_other_axes",
    "test_gate.py::test_doubts_stand",
    "test_gate.py::test_flow_too_high",
    "test_gate.py::test_what_worked",
    "test_group.py::test_the_page",
    "test_hand_ins_held.py",
    "test_hmc.py",
    "test_hmc_models.py",
    "test_input_plausibility.py::test_a_peak_that",
    "test_input_plausibility.py::test_an_input_function_scaled",
    "test_input_plausibility.py::test_the_blood_of_both",
    "test_input_plausibility.py::test_the_muscle",
    "test_input_plausibility.py::test_the_plugin",
    "test_kinetics.py::test_any_unit_serves",
    "test_kinetics.py::test_each_bad_curve",
    "test_kinetics.py::test_estimates_belong",
    "test_kinetics.py::test_fermi_looks_at_the_first_pass",
    "test_kinetics.py::test_no_value_is_a_bound",
    "test_kinetics.py::test_osipi_exchange_curves",
    "test_kinetics.py::test_plasma_input",
    "test_kinetics.py::test_precision_that_is_claimed",
    "test_kinetics.py::test_real_flow_map",
    "test_motion.py",
    "test_networks.py",
    "test_new_plugin.py::test_a_new_distribution_passes",
    "test_new_step.py",
    "test_phantom.py",
    "test_pinn.py",
    "test_plugin_guide.py",
    "test_outline_trust.py::test_a_model_learns",
    "test_outline_trust.py::test_a_right_outline",
    "test_outline_trust.py::test_a_wrong_outline",
    "test_outline_trust.py::test_worse_outlines",
    "test_progressive.py",
    "test_report.py",
    "test_report_browser.py",
    "test_review.py",
    "test_review_browser.py",
    "test_repository.py::test_a_long_installation",
    "test_repository.py::test_release",
    "test_repository.py::test_the_documentation_builds",
    "test_repository.py::test_the_wheel",
    "test_saturated_input.py::test_flow_of_a_single_bolus",
    "test_saturated_input.py::test_intervals_cover",
    "test_segmentation.py::test_pools_of_a_coarse_series",
    "test_segmentation.py::test_real_tissue_series",
    "test_slice_times.py::test_a_late_slice",
    "test_spleen.py::test_a_marked_spleen",
    "test_spleen.py::test_a_mask_that",
    "test_status.py",
    "test_storage_order.py",
    "test_third_party.py",
    "test_times.py::test_a_high_level",
    "test_times.py::test_a_slower_clock",
    "test_turns.py::test_a_run_that_is_killed",
    "test_times.py::test_one_image",
    "test_two_echoes.py",
    "test_training.py::test_a_resumed_training",
    "test_training.py::test_the_best_weights",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ids = [item.nodeid.removeprefix("tests/") for item in items]
    for item, name in zip(items, ids, strict=True):
        if name.startswith(SLOW) or "tf" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    whole = config.args == config.getini("testpaths")
    if whole and (gone := [entry for entry in SLOW if not any(name.startswith(entry) for name in ids)]):
        raise pytest.UsageError(f"tests/conftest.py: SLOW names tests that are not there: {', '.join(gone)}")


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """The commands set variables for the libraries that they load: no other test sees them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def tf() -> Any:
    """TensorFlow."""
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real measurement data; skips where it is absent, as on a fresh clone."""
    path = Path(os.environ.get("QPERF_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (path / "README.md").is_file():
        pytest.skip(f"measurement data not found at {path} (set QPERF_TEST_DATA)")
    return path
