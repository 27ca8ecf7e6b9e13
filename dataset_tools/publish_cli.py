"""`build-dataset publish`, `publish-model` and `publish-board`: put results on the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from dataset_tools.core.console import reports_errors
from dataset_tools.core.errors import ConfigError, DataError, HubError
from dataset_tools.core.text import printable
from dataset_tools.options import open_build, print_result, with_config, with_output

if TYPE_CHECKING:
    from baselines.checkpoint import TrainingRecord
    from dataset_tools.export.hub import Comparison, PublishOptions, PublishReport
    from dataset_tools.export.hub_client import RepoType
    from dataset_tools.export.hub_models import ModelFacts, Score
    from dataset_tools.export.hub_plan import PublishPlan
    from dataset_tools.pipeline import Pipeline

Command = Callable[..., Any]

_MOST_LINES = 50
INDEX_FILE = "index.jsonl"


def _with_publishing(command: Command) -> Command:
    """Add the options that all three commands share."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Prepare the exact folder, show what would change."),
        click.option("--public", is_flag=True, help="Open to everybody; private otherwise."),
        click.option("--draft", is_flag=True, help="Private only: although the card lacks something."),
        click.option("--gated", type=click.Choice(["auto", "manual"]), help="Visitors must agree, or ask."),
        click.option("--pr", "pull_request", is_flag=True, help="Open a pull request instead of a commit."),
        click.option("--message", default="", help="Of the commit."),
    ):
        command = option(command)
    return command


@click.command()
@with_config
@click.option("--repo", required=True, help="user/name on the Hugging Face Hub.")
@_with_publishing
@click.option("--without-images", is_flag=True, help="Labels, addresses and hashes only.")
@click.option("--with-workspace", is_flag=True, help="Also the whole workspace, for `pull --workspace`.")
@click.option("--erase-history", is_flag=True, help="Afterwards remove all older versions for good.")
@with_output
@reports_errors
def publish(
    config: Path,
    repo: str,
    dry_run: bool,
    public: bool,
    draft: bool,
    gated: Any,
    pull_request: bool,
    message: str,
    without_images: bool,
    with_workspace: bool,
    erase_history: bool,
    quiet: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Publish the dataset with its card on the Hugging Face Hub.

    The token is the one of `hf auth login`, or HF_TOKEN. Whatever breaks, the same command goes on from
    there; who reads the repository meanwhile sees the old version or the new one. The version
    (export.version) becomes the tag.
    """
    from dataset_tools.export.hub import PublishOptions
    from dataset_tools.export.hub_client import check_repository_name, quiet_client

    quiet_client(quiet or as_json)
    check_repository_name(repo)
    if with_workspace and public:
        raise ConfigError(
            "--with-workspace holds what was dropped, too, and who reviewed it; it goes with private "
            "repositories only"
        )
    if erase_history and pull_request:
        raise ConfigError("--erase-history changes the repository itself; it does not go with --pr")
    build = open_build(config, quiet=quiet, as_json=as_json, **overrides)
    plan = prepare_dataset(build, with_images=not without_images, with_workspace=with_workspace)
    options = PublishOptions(
        public=public,
        draft=draft,
        gated=gated,
        pull_request=pull_request,
        tag=plan.version,
        message=message or f"Version {plan.version}",
        erase_history=erase_history,
    )
    values, lines = carry_out(plan, repo, options, "dataset", dry_run=dry_run, is_versioned=True)
    print_result(values, lines, as_json)


_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_out = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Prepared folder.  [default: ./publish-NAME]",
)


@click.command("publish-model")
@click.argument("checkpoint", type=_FOLDER)
@click.option("--repo", required=True, help="user/name on the Hugging Face Hub.")
@click.option("--board", type=_FOLDER, help="Folder of score cards; those of these weights go into the card.")
@click.option("--data", type=_FOLDER, help="The exported dataset it was trained on, for the licences.")
@click.option("--dataset-repo", default="", help="Where that dataset is published: user/name.")
@_out
@_with_publishing
@with_output
@reports_errors
def publish_model(
    checkpoint: Path,
    repo: str,
    board: Path | None,
    data: Path | None,
    dataset_repo: str,
    out: Path | None,
    dry_run: bool,
    public: bool,
    draft: bool,
    gated: Any,
    pull_request: bool,
    message: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Publish a trained baseline with a model card computed from its record and its score cards.

    Only safetensors, JSON and CSV go up; a checkpoint with a pickle in it is refused.
    """
    from dataset_tools.export.hub import PublishOptions
    from dataset_tools.export.hub_client import check_repository_name, quiet_client
    from dataset_tools.export.hub_models import prepare_model

    quiet_client(quiet or as_json)
    for name in (repo, dataset_repo) if dataset_repo else (repo,):
        check_repository_name(name)
    facts = model_facts(checkpoint, board, data, dataset_repo)
    plan = prepare_model(checkpoint, out or _default_out(checkpoint), facts)
    options = PublishOptions(public, draft, gated, pull_request, message=message or "Update model")
    values, lines = carry_out(plan, repo, options, "model", dry_run=dry_run)
    print_result(values, lines, as_json)


@click.command("publish-board")
@click.argument("board", type=_FOLDER)
@click.option("--repo", required=True, help="user/name on the Hugging Face Hub (a dataset repository).")
@click.option("--title", default="Leaderboard", show_default=True, help="Of the page.")
@click.option("--licence", default="", help="The figures are given under it, e.g. CC0-1.0.")
@_out
@_with_publishing
@with_output
@reports_errors
def publish_board(
    board: Path,
    repo: str,
    title: str,
    licence: str,
    out: Path | None,
    dry_run: bool,
    public: bool,
    draft: bool,
    gated: Any,
    pull_request: bool,
    message: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Publish a leaderboard: the table, JSON, CSV and the page, without pictures and per-picture rows."""
    from baselines.board_forms import as_csv, as_json_text, as_markdown
    from baselines.board_page import as_html
    from baselines.leaderboard import read_board
    from dataset_tools.export.hub import PublishOptions
    from dataset_tools.export.hub_client import check_repository_name, quiet_client
    from dataset_tools.export.hub_models import prepare_board

    quiet_client(quiet or as_json)
    check_repository_name(repo)
    found = read_board(board)
    if found.refused:
        first = found.refused[0]
        raise DataError(f"{len(found.refused)} cards of this board were refused, first {first.reason}")
    files = {
        "leaderboard.json": as_json_text(found),
        "leaderboard.csv": as_csv(found),
        "leaderboard.html": as_html(found, board),
    }
    plan = prepare_board(out or _default_out(board), title, licence, as_markdown(found), files.items())
    options = PublishOptions(public, draft, gated, pull_request, message=message or "Update leaderboard")
    values, lines = carry_out(plan, repo, options, "dataset", dry_run=dry_run)
    print_result(values, lines, as_json)


def _default_out(source: Path) -> Path:
    return Path.cwd() / f"publish-{source.resolve().name}"


def model_facts(checkpoint: Path, board: Path | None, data: Path | None, dataset_repo: str) -> ModelFacts:
    """What the card of a checkpoint is computed from.

    Args:
        checkpoint: a finished training.
        board: folder of score cards; every card of these weights is recomputed from its table.
        data: the exported dataset it was trained on.
        dataset_repo: where that is published; "" when it is not.

    Raises:
        DataError: not finished or damaged, a card that does not follow from its table, or `data` is another
            dataset.
    """
    from baselines.checkpoint import read_record
    from baselines.models import find_spec
    from dataset_tools.export.hub_models import ModelFacts

    record = read_record(checkpoint)
    spec = find_spec(record.baseline)
    return ModelFacts(
        title=spec.title,
        record=record.model_dump(mode="json"),
        weights_licence=spec.weights_licence if record.initial_weights_sha256 else "",
        code_licence=spec.code_licence,
        data_licences=_licences_of(data, record) if data is not None else {},
        dataset_repo=dataset_repo,
        scores=_scores_of(board, record, dataset_repo) if board is not None else (),
    )


def _licences_of(data: Path, record: TrainingRecord) -> dict[str, int]:
    try:
        facts = json.loads((data / "dataset.json").read_bytes())
        manifest, licences = facts["manifest"], dict(facts["counts"]["licences"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{data} is no exported dataset: {error!r}") from None
    if manifest != record.dataset_key:
        raise DataError(f"{data} is not the dataset the checkpoint was trained on ({record.dataset_name})")
    return licences


def _scores_of(board: Path, record: TrainingRecord, dataset_repo: str) -> tuple[Score, ...]:
    """Figures of these weights; every card of the board is recomputed from its table first."""
    from baselines.leaderboard import read_board
    from dataset_tools.export.hub_models import Score

    found = read_board(board)
    if found.refused:
        raise DataError(f"{board}: {found.refused[0].reason}")
    cards = [card for section in found.sections for line in section.lines for card in line.cards]
    return tuple(
        Score(
            dataset=dataset_repo
            if dataset_repo and card.dataset_digest == record.dataset_digest
            else card.dataset_name,
            split=card.split.value,
            label=card.label.value,
            digest=card.dataset_digest,
            crops=card.crops,
            leaked=card.leaked_samples,
            metrics=card.metrics,
        )
        for card in cards
        if card.training is not None and card.training.weights_sha256 == record.weights_sha256
    )


def prepare_dataset(build: Pipeline, *, with_images: bool, with_workspace: bool) -> PublishPlan:
    """Make the folder of this build's dataset that goes to the Hub.

    Raises:
        DataError: nothing exported yet.
        WorkspaceBusy: another process holds the workspace.
    """
    from dataset_tools.export.hub_plan import prepare
    from dataset_tools.versions import open_version, write_index

    root = build.workspace.root
    with build.workspace.lock():
        return prepare(
            build.dataset_dir,
            root / "publish",
            with_images=with_images,
            workspace=root if with_workspace else None,
            complete=lambda folder: write_index(open_version(build.dataset_dir), folder / INDEX_FILE),
        )


def carry_out(
    plan: PublishPlan,
    repo: str,
    options: PublishOptions,
    repo_type: RepoType,
    *,
    dry_run: bool,
    is_versioned: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Compare a prepared folder with the Hub and, unless `dry_run`, publish it.

    Returns:
        What was done, as JSON values and in words.

    Raises:
        ConfigError: the version is not of the form MAJOR.MINOR.PATCH.
        DataError: the card or the version does not allow it.
        HubError: the Hub refused or is away.
    """
    from dataset_tools.export.hub import look, push

    if is_versioned:
        _numbers(plan.version)
    values: dict[str, Any] = {
        "folder": str(plan.folder),
        "files": len(plan.files),
        "bytes": plan.size,
        "version": plan.version,
        "missing": list(plan.missing),
        "dry_run": dry_run,
    }
    lines = [f"prepared  {plan.folder}: {len(plan.files)} files, {plan.size} bytes"]
    lines += [f"missing   {printable(item)}" for item in plan.missing]
    try:
        seen = look(plan, repo, repo_type)
    except HubError as error:
        if not dry_run:
            raise
        return values | {"compared": False}, [*lines, f"not compared with the Hub: {error}"]
    values |= {"compared": True, "head": seen.head, "changes": [asdict(item) for item in seen.changes]}
    lines += _change_lines(seen, repo)
    if is_versioned and seen.changes:
        needed = needed_version(plan, repo, seen)
        values["needed_version"] = needed
        if needed:
            problem = f"the changes need version {needed} or higher, not {plan.version} (export.version)"
            if not dry_run:
                raise DataError(f"{repo}: {problem}; set it and export again")
            lines.append(f"version   {problem}")
    if dry_run:
        return values, [*lines, "nothing was published"]
    done = push(plan, repo, options, repo_type, seen=seen.head)
    return values | _done_values(done), [*lines, *_done_lines(done)]


def needed_version(plan: PublishPlan, repo: str, seen: Comparison) -> str:
    """The least version the differences to the published one allow; "" when the plan's is high enough.

    Pictures or labels gone, moved or under another licence: the first number rises; more of them: the second;
    corrected labels, card or files: the third. A repository that no version was published in asks for none.

    Raises:
        ConfigError: one of the two versions is not of the form MAJOR.MINOR.PATCH.
        HubError: the Hub is away.
    """
    from dataset_tools.export.hub_pull import fetch_files
    from dataset_tools.versions import Change, diff_versions, next_version, open_version

    with TemporaryDirectory() as folder:
        place = Path(folder)
        if fetch_files(repo, seen.head, (INDEX_FILE, "dataset.json"), place) < 2:
            return ""
        before = open_version(place / INDEX_FILE)
        change = diff_versions(before, open_version(plan.folder / INDEX_FILE)).change
        had, has = (_has_images(one) for one in (place, plan.folder))
    if had and not has:
        change = Change.BREAKING
    elif change is Change.NONE:
        change = Change.RELABELLED if had == has else Change.ADDITIVE
    needed = next_version(before.number, change)
    return "" if _numbers(plan.version) >= _numbers(needed) else needed


def _has_images(folder: Path) -> bool:
    facts = json.loads((folder / "dataset.json").read_bytes())
    return facts.get("with_images", True) is not False


def _numbers(version: str) -> tuple[int, ...]:
    from dataset_tools.versions import Change, next_version

    return tuple(int(part) for part in next_version(version, Change.NONE).removeprefix("v").split("."))


def _change_lines(seen: Comparison, repo: str) -> list[str]:
    if not seen.changes:
        return [f"{repo} holds exactly this already"]
    head = f"{repo} is new" if seen.is_new else f"{repo} at {seen.head[:12]}"
    lines = [printable(str(change)) for change in seen.changes[:_MOST_LINES]]
    if len(seen.changes) > _MOST_LINES:
        lines.append(f"… and {len(seen.changes) - _MOST_LINES} more; --json names all")
    return [f"compared  {head}; + new, ~ changed, - removed:", *lines]


def _done_values(done: PublishReport) -> dict[str, Any]:
    return {
        "url": done.url,
        "commit": done.commit,
        "changed": done.is_new_commit,
        "tag": done.tag,
        "erased": asdict(done.erased) if done.erased is not None else None,
    }


def _done_lines(done: PublishReport) -> list[str]:
    from dataset_tools.export.hub_erase import OUT_OF_REACH

    what = "published" if done.is_new_commit else "unchanged"
    lines = [f"{what} {done.url} at {done.commit}" + (f", version {done.tag}" if done.tag else "")]
    if done.erased is not None:
        lines.append(
            f"erased    {len(done.erased.blobs)} large files, {len(done.erased.refs)} tags, branches and "
            "pull requests, and all commits before"
        )
        lines.append(OUT_OF_REACH)
    return lines
