"""What `bin/search` does with its flags."""

import dataclasses
import pathlib

from tfshrink.errors import UserError
from tfshrink.models.sources import open_source
from tfshrink.search import search_report
from tfshrink.search.search import predicted_seconds
from tfshrink.search.search import search
from tfshrink.search.search import Where
from tfshrink.search.settings import METHODS
from tfshrink.search.settings import OBJECTIVES
from tfshrink.search.settings import SAMPLERS
from tfshrink.search.settings import SearchSettings

SETTINGS = [field.name for field in dataclasses.fields(SearchSettings)]
PLACES = [field.name for field in dataclasses.fields(Where)]


def run(
    subjects,
    values,
    places,
    *,
    sensitivity_file=None,
    skip_sensitivity=False,
    dry_run=False,
):
    """Searches one or several models, each against its own reference.

    Args:
        subjects: List of `Subject`.
        values: Fields of `SearchSettings`.
        places: Fields of `Where`; of several models, each gets a folder of its
            name below `results_dir` and a study of its name.
        sensitivity_file: As in `search`; of a single model.
        skip_sensitivity: The same.
        dry_run: Judges one plan and predicts the time.
    """
    settings = SearchSettings(**values)
    several = len(subjects) > 1
    if several and (sensitivity_file or places.get("output_csv")):
        raise UserError(
            "`models` of several names take no sensitivity_file and no "
            "output_csv: each has its own. Received: "
            f"{sensitivity_file or places['output_csv']}"
        )
    if several and not places["results_dir"]:
        raise UserError(
            "`results_dir` must be named where `models` holds several. "
            "Received: none"
        )
    if several:
        for subject in subjects:
            open_source(subject.model)  # a name that is wrong is said at once
    found = []
    for subject in subjects:
        if dry_run:
            predicted = predicted_seconds(subject, settings)
            search_report.print_prediction(subject, predicted)
            continue
        own = dict(places)
        if several:
            label = subject.model.strip("/").replace("/", "_")
            own["results_dir"] = str(
                pathlib.Path(places["results_dir"]) / label
            )
            own["study_name"] = f"{Where(**places).study_name}-{label}"
        results, folder = search(
            subject,
            settings,
            Where(**own),
            sensitivity_file=sensitivity_file,
            skip_sensitivity=skip_sensitivity,
        )
        search_report.print_search(results, folder, subject)
        found.append(results)
    if several and not dry_run:
        search_report.write_comparison(found, places["results_dir"])


def print_choices():
    """Prints what the flags of bin/search can be set to."""
    print("--method:      " + ", ".join(METHODS))
    print("--sampler:     " + ", ".join(SAMPLERS))
    print("--objectives:")
    for name, meaning in OBJECTIVES.items():
        print(f"  {name:<18}{meaning}")
