"""`elmo models`: the catalogue of published models, and the cache of their files."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from elmo_cli.cli.headings import INPUT, OUTPUT, HeadedCommand, HeadedGroup, headed
from elmo_cli.cli.options import cache_dir_option, cache_options, json_option, quiet_option
from elmo_cli.cli.parameter_types import FILE
from elmo_cli.errors import ElmoError, ModelError
from elmo_cli.io.remote import redact_url
from elmo_cli.models.cache import Cache, check_hash, default_offline, recorded_hash
from elmo_cli.models.catalogue import KnownModel, load_catalogue

EPILOG = """\b
Examples:
  elmo models
  elmo models show original
  elmo models download efml-pt
  elmo models convert model.tar.gz my_elmo/ --float16
  elmo embed corpus.txt out.h5 --model original
"""
_json_option = json_option("Print JSON instead of text.")
names_argument = click.argument("names", metavar="NAME...", nargs=-1, required=True)


@click.group(cls=HeadedGroup, invoke_without_command=True, epilog=EPILOG)
@_json_option
@cache_dir_option
@click.pass_context
def command(ctx: click.Context, as_json: bool, cache_dir: Path | None) -> None:
    """List the known models, and whether they are downloaded; or run a subcommand.

    NAME is a name of this list, or the URL of the archive of a model.
    """
    if ctx.invoked_subcommand is not None:
        # --cache-dir is allowed before and after the subcommand
        ctx.default_map = {ctx.invoked_subcommand: {"cache_dir": cache_dir}}
        return
    cache = _cache(cache_dir)
    models = list(load_catalogue().values())
    with cache.raising_model_errors():
        shown = (
            json.dumps([_facts(model, cache) for model in models], indent=1)
            if as_json
            else _table(models, cache)
        )
    click.echo(shown)


@command.command(cls=HeadedCommand, epilog="Example: elmo models show original")
@click.argument("name", metavar="NAME")
@_json_option
@cache_dir_option
def show(name: str, as_json: bool, cache_dir: Path | None) -> None:
    """Write the properties of a model: domain, licence, paper, files, hashes."""
    cache = _cache(cache_dir)
    with cache.raising_model_errors():
        facts = _facts(_known(name), cache)
    click.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_lines(facts)))


@command.command(cls=HeadedCommand, epilog="Example: elmo models download original efml-pt")
@names_argument
@cache_options
@quiet_option
def download(names: tuple[str, ...], cache_dir: Path | None, offline: bool, quiet: bool) -> None:
    """Download models to the cache, and write the paths of their folders to standard output."""
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.models.resolve import find_known

    with UserConsole(quiet=quiet).cache(cache_dir, offline=offline) as cache:
        folders = [find_known(_known(name), cache).folder for name in names]
    for folder in folders:
        click.echo(folder)


@command.command(cls=HeadedCommand, epilog="Example: elmo models path original")
@click.argument("name", metavar="NAME")
@cache_dir_option
def path(name: str, cache_dir: Path | None) -> None:
    """Write the path of the folder of a downloaded model."""
    from elmo_cli.models.resolve import find_known

    click.echo(find_known(_known(name), _cache(cache_dir), fetching=False).folder)


@command.command(cls=HeadedCommand, epilog="Example: elmo models remove original")
@names_argument
@cache_dir_option
def remove(names: tuple[str, ...], cache_dir: Path | None) -> None:
    """Delete models from the cache, with partial downloads and recorded hashes."""
    cache = _cache(cache_dir)
    for name in names:
        known = _known(name)
        with cache.raising_model_errors():
            _remove(known, redact_url(name), cache)
        click.echo(f"removed {cache.place(known.name)}", err=True)


@command.command(cls=HeadedCommand, epilog="Example: elmo models verify   (all downloaded models)")
@click.argument("names", metavar="[NAME...]", nargs=-1)
@cache_dir_option
def verify(names: tuple[str, ...], cache_dir: Path | None) -> None:
    """Verify downloaded models: the hashes of their files, then every tensor.

    Without NAME, all downloaded models are verified. The sha256 of each file is written to standard
    output in the format of sha256sum.
    """
    from elmo_cli.models.resolve import cached_files, find_known

    cache = _cache(cache_dir)
    with cache.raising_model_errors():
        here = [
            known.name
            for known in load_catalogue().values()
            if known.files and known.is_in(cache.place(known.name))
        ]
    wrong = []
    for name in names or here:
        known = _known(name)
        try:
            model = find_known(known, cache, fetching=False)
            for file, published in cached_files(known, cache, model) if known.files else ():
                with cache.raising_model_errors():
                    check_hash(file, published, again=True)
                click.echo(f"{recorded_hash(file)}  {file}")
            model.load()
        except ElmoError as error:
            wrong.append(str(error))
    if wrong:
        raise ModelError(*wrong)


@command.command(
    cls=HeadedCommand, epilog="Example: elmo models convert model.tar.gz my_elmo/ --float16"
)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST", type=FILE)
@headed(
    INPUT,
    click.option(
        "--options",
        "--options-file",
        "options",
        type=FILE,
        metavar="FILE",
        help="Options file for an AllenNLP archive without one.",
    ),
)
@headed(
    OUTPUT,
    click.option(
        "--float16",
        is_flag=True,
        help="Store the weights as float16: half the size, values rounded to 11 bits.",
    ),
)
@cache_options
@quiet_option
def convert(
    source: str,
    destination: Path,
    options: Path | None,
    float16: bool,
    cache_dir: Path | None,
    offline: bool,
    quiet: bool,
) -> None:
    """Convert the model SRC to the published format, in the new folder DST.

    SRC is a name, folder, archive or URL; DST contains options.json and weights.hdf5.
    """
    from elmo_cli.cli.console import UserConsole
    from elmo_cli.models.convert import convert_model
    from elmo_cli.models.resolve import find_model

    console = UserConsole(quiet=quiet)
    with console.cache(cache_dir, offline=offline) as cache:
        model = find_model(source, options, cache=cache)
    with console.status("converting"):
        convert_model(model, destination, "float16" if float16 else "float32")
    console.info(f"{destination}: {model.name}, {'float16' if float16 else 'float32'}")


def _cache(folder: Path | None) -> Cache:
    return Cache(folder, default_offline())


def _remove(known: KnownModel, name: str, cache: Cache) -> None:
    place = cache.place(known.name)
    if not known.files or not place.is_dir():
        raise ModelError(
            f"{name}: is {'built in' if not known.files else f'not in the cache ({place})'}; "
            "nothing to remove"
        )
    unpacked = [
        cache.unpacked(place / file.name) for file in known.files if (place / file.name).is_file()
    ]
    for folder in [place, *filter(Path.is_dir, unpacked)]:
        shutil.rmtree(folder)


def _known(name: str) -> KnownModel:
    """Return a model by its name; for names of the catalogue without the slow import of torch."""
    known = load_catalogue().get(name)
    if known is None:
        from elmo_cli.models.resolve import known_model

        known = known_model(name)
    return known


def _facts(known: KnownModel, cache: Cache) -> dict[str, Any]:
    place = cache.place(known.name)
    files = []
    for file in asdict(known)["files"]:
        where = place / file["name"]
        files.append({**file, "path": str(where), "recorded_sha256": recorded_hash(where)})
    return {**asdict(known), "size": known.size, "files": files, "downloaded": known.is_in(place)}


def _lines(facts: dict[str, Any]) -> list[str]:
    shown = {
        key: value
        for key, value in facts.items()
        if key not in ("files", "at_least") and value is not None
    }
    lines = [
        f"{key:<12}{'yes' if value is True else 'no' if value is False else value}"
        for key, value in shown.items()
    ]
    for file in facts["files"]:
        hashed = file["hash"] or (
            f"sha256:{file['recorded_sha256']} (recorded here)"
            if file["recorded_sha256"]
            else "not published"
        )
        lines += [
            f"{'file':<12}{file['name']}",
            f"{'  hash':<12}{hashed}",
            f"{'  path':<12}{file['path']}",
        ]
        lines += [f"{'  url':<12}{url}" for url in file["urls"]]
    return lines


def _table(models: list[KnownModel], cache: Cache) -> str:
    head = ("name", "language", "size", "parameters", "downloaded")
    rows = [
        head,
        *(
            (
                m.name,
                m.language,
                _size(m),
                _millions(m),
                "yes" if m.is_in(cache.place(m.name)) else "no",
            )
            for m in models
        ),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    right = (False, False, True, True, False)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width)
            for cell, width, r in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )


def _size(known: KnownModel) -> str:
    return "" if known.size is None else f"{'> ' * known.at_least}{known.size / 1e6:,.0f} MB"


def _millions(known: KnownModel) -> str:
    return (
        "" if known.parameters is None else f"{'> ' * known.at_least}{known.parameters / 1e6:.1f} M"
    )
