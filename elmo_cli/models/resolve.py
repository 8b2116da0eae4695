"""Model lookup: a folder, an archive, a name of the catalogue, a URL, or a pair of files.

Models of the catalogue and of URLs are downloaded to a cache and verified on each use.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from elmo_cli.errors import DownloadError, ModelError
from elmo_cli.io import archives
from elmo_cli.io.remote import redact_url
from elmo_cli.models.cache import Cache, check_hash, remove_hash
from elmo_cli.models.catalogue import KnownModel, WebFile, load_catalogue
from elmo_cli.models.download import fetch
from elmo_cli.models.files import ModelFiles, find_in_archive, find_in_folder

BUILT_IN = "tiny"  # the default: a small English model, part of the package
TINY = Path(__file__).with_name("tiny")


def find_model(
    name: str | None,
    options: str | Path | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
) -> ModelFiles:
    """Find the files of a model.

    Args:
        name: Folder, archive, name of the catalogue or URL; None: that of ELMO_MODEL, or the
            built-in model. Not with both `options` and `weights`.
        options: Options file or its URL; beside `name` only for an AllenNLP archive without
            options.
        weights: Weights file or its URL, with `options`.
        cache: Folder of downloaded and unpacked models; None: the default one.

    Returns:
        The files of the model.

    Raises:
        ModelError: The arguments contradict each other, or there is no such model.
        DownloadError: A file cannot be downloaded.
    """
    cache = cache or Cache()
    if options is not None and weights is not None:
        if name is not None:
            raise ModelError("--model and --options/--weights specify two models; pass one of them")
        return _find_pair(str(options), str(weights), cache)
    if weights is not None or (options is not None and name is None):
        raise ModelError(
            "--options and --weights are used together; pass both files, or --model FOLDER"
        )
    if name is None:
        name = os.environ.get("ELMO_MODEL") or BUILT_IN
    model = _find_named(name, cache)
    if options is None:
        return model
    if model.format != "allennlp-archive":
        raise ModelError(
            "--options is used with --model only for an AllenNLP archive without options; leave "
            f"it out, {name} has its own"
        )
    return replace(model, files={**model.files, "options": _existing(options, "options")})


def _find_pair(options: str, weights: str, cache: Cache) -> ModelFiles:
    """Return a model of two files, of two URLs, or of a file and a URL."""
    if "://" not in options and "://" not in weights:
        files = {"options": _existing(options, "options"), "weights": _existing(weights, "weights")}
        return ModelFiles(files["weights"].stem, "allennlp", files)
    if "://" not in options:
        return _with_one_downloaded(weights, {"options": _existing(options, "options")}, cache)
    if "://" not in weights:
        return _with_one_downloaded(options, {"weights": _existing(weights, "weights")}, cache)
    for known in load_catalogue().values():
        if len(known.files) == 2 and all(
            url in file.urls for url, file in zip((options, weights), known.files, strict=True)
        ):
            return find_known(known, cache)
    return find_known(_at_urls(options, weights), cache)


def _with_one_downloaded(url: str, local: Mapping[str, Path], cache: Cache) -> ModelFiles:
    """Return a model of a local and a downloaded file, whose hash is recorded at the first use."""
    known = _at_urls(url)
    (role,) = {"options", "weights"} - local.keys()
    path = cache.place(known.name) / known.files[0].name
    paths = {**local, role: path}
    files = {name: paths[name] for name in ("options", "weights")}
    model = ModelFiles(archives.stem(files["weights"]), "allennlp", files)
    with cache.raising_model_errors():
        if not path.is_file():
            _fetch_missing(known, cache, lambda: _load(known, cache, lambda: model))
        check_hash(path)
    return model


def _find_named(name: str, cache: Cache) -> ModelFiles:
    path = Path(name)
    if "://" in name:
        return find_known(_at_urls(name), cache)
    if path.is_dir():
        return find_in_folder(path)
    if path.is_file():
        return find_in_archive(path, cache)
    if name == BUILT_IN:
        return replace(find_in_folder(TINY), built_in=True)
    return find_known(known_model(name), cache)


def _existing(path: str | Path, kind: str) -> Path:
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such {kind} file; check its path")
    return Path(path)


def known_model(name: str) -> KnownModel:
    """Return a model of the catalogue by its name, or an archive by its URL.

    Args:
        name: Name of the catalogue, or URL.

    Returns:
        The model.

    Raises:
        ModelError: No model has that name.
    """
    if "://" in name:
        return _at_urls(name)
    catalogue = load_catalogue()
    if name not in catalogue:
        close = get_close_matches(name.lower(), catalogue, n=3)
        suggestion = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ModelError(
            f"{name}: no such model{suggestion}; pass the folder, archive or URL of a model, or a "
            "name that elmo models lists"
        )
    return catalogue[name]


def _at_urls(*urls: str) -> KnownModel:
    """Return the model of an archive's URL, or of two files' URLs."""
    for url in urls:
        if not re.fullmatch(r"https?://[^/]+/.+", url):
            raise ModelError(
                f"{redact_url(url)}: not the URL of a file; pass one that starts with https://"
            )
    names = [
        re.sub(r"[^\w.-]", "_", url.partition("?")[0].rstrip("/").rpartition("/")[2]).lstrip(".")
        for url in urls
    ]
    if len(urls) == 2:
        names = [f"{role}_{name}" for role, name in zip(("options", "weights"), names, strict=True)]
    files = tuple(WebFile(name or "model", (url,)) for name, url in zip(names, urls, strict=True))
    place, unknown = f"url-{hashlib.sha256(' '.join(urls).encode()).hexdigest()[:16]}", "not stated"
    return KnownModel(place, unknown, unknown, unknown, unknown, unknown, "allennlp", files)


def find_known(known: KnownModel, cache: Cache, *, fetching: bool = True) -> ModelFiles:
    """Find the files of a model in the cache, download missing ones, and check their hashes.

    Files that were put into the cache by hand are accepted.

    Args:
        known: Model of the catalogue or of a URL.
        cache: Folder of downloaded models.
        fetching: Whether missing files may be downloaded.

    Returns:
        The files of the model.

    Raises:
        ModelError: The files are missing, or differ from those published or seen before.
        DownloadError: A file cannot be downloaded.
    """
    if not known.files:
        return replace(find_in_folder(TINY), built_in=True)
    with cache.raising_model_errors():
        if not known.is_in(cache.place(known.name)):
            if not fetching:
                raise ModelError(
                    f"{known.name}: is not in the cache ({cache.place(known.name)}); run elmo "
                    f"models download {known.name}"
                )
            _fetch_missing(known, cache, lambda: _verify_download(known, cache))
        model = _find_in_cache(known, cache)
        for path, published in cached_files(known, cache, model):
            check_hash(path, published)
    return model


def cached_files(
    known: KnownModel, cache: Cache, model: ModelFiles
) -> list[tuple[Path, str | None]]:
    """Return the files of a model in the cache, each with its published hash.

    Args:
        known: The model.
        cache: Folder of downloaded models.
        model: Its files in the cache.

    Returns:
        Path and published hash of each file; the hash is None if there is none, or if the file was
        put into the cache by hand.
    """
    named = [(cache.place(known.name) / file.name, file.hash) for file in known.files]
    return (
        named
        if all(path.is_file() for path, _ in named)
        else [(path, None) for path in model.files.values()]
    )


def _fetch_missing(known: KnownModel, cache: Cache, check: Callable[[], object]) -> None:
    """Download the missing files and `check` them; runs that need the same files wait."""
    place = cache.place(known.name)
    missing = [file for file in known.files if not (place / file.name).is_file()]
    if cache.offline:
        raise DownloadError(
            f"{known.name}: is not in the cache, and downloads are off (offline); "
            f"{_manual_download(missing, place)}"
        )
    from filelock import FileLock, Timeout

    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        cache.notify(f"{known.name}: another run is downloading it; waiting")
        lock.acquire()
    with lock:
        missing = [file for file in missing if not (place / file.name).is_file()]
        try:
            for file in missing:
                fetch(file, place, cache.progress)
        except DownloadError as error:
            raise DownloadError(f"{error}; {_manual_download(missing, place)}") from None
        if missing:
            check()


def _manual_download(files: Sequence[WebFile], place: Path) -> str:
    """Return the remedy that needs no download by this program."""
    return "to install it by hand, put " + " and ".join(
        f"{redact_url(file.urls[0])} at {place / file.name}" for file in files
    )


def _verify_download(known: KnownModel, cache: Cache) -> None:
    """Load what was downloaded before its hash is recorded: a server may send another file."""
    model = _load(known, cache, lambda: _find_in_cache(known, cache))
    for path, published in cached_files(known, cache, model):
        recorded = check_hash(path, published)
        if recorded:
            cache.notify(
                f"{path.name}: no hash is published; its sha256 {recorded} is recorded and checked "
                "in later runs"
            )


def _load(known: KnownModel, cache: Cache, find: Callable[[], ModelFiles]) -> ModelFiles:
    """Find and load a model; if that fails, delete the downloads that have no published hash."""
    try:
        model = find()
        model.load()
    except ModelError:
        for file in known.files:
            if file.hash is None:
                path = cache.place(known.name) / file.name
                path.unlink(missing_ok=True)
                remove_hash(path)
        raise
    return model


def _find_in_cache(known: KnownModel, cache: Cache) -> ModelFiles:
    place, paths = (
        cache.place(known.name),
        [cache.place(known.name) / file.name for file in known.files],
    )
    name = archives.stem(paths[-1]) if known.name.startswith("url-") else known.name
    if not all(path.is_file() for path in paths):
        return find_in_folder(place, name)
    if len(paths) == 1:
        return find_in_archive(paths[0], cache, name)
    return ModelFiles(name, known.format, dict(zip(("options", "weights"), paths, strict=True)))
