"""Models by name: a folder, an archive, a known name, a URL or a pair of files. What is known is kept in a cache, and fetched into it."""

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
from elmo_cli.models.cache import Cache, check_hash, forget_hash
from elmo_cli.models.catalogue import KnownModel, WebFile, load_catalogue
from elmo_cli.models.download import fetch
from elmo_cli.models.files import ModelFiles, find_in_archive, find_in_folder

BUILT_IN = "tiny"  # the default: a small English model for trying out, in the package
TINY = Path(__file__).with_name("tiny")


def find_model(
    name: str | None, options: str | Path | None = None, weights: str | Path | None = None, cache: Cache | None = None
) -> ModelFiles:
    """The files of a model: a folder's, an archive's, a known one's, or two files or URLs that are named.

    With nothing named it is the one that ELMO_MODEL names, or else the built-in one. `options` may stand beside the name of an
    AllenNLP archive that lacks them.

    Raises:
        ModelError: Too much is named, or what is named is not there.
    """
    cache = cache or Cache()
    if options is not None and weights is not None:
        if name is not None:
            raise ModelError("--model and --options/--weights name two models; give one of them")
        return _find_pair(str(options), str(weights), cache)
    if weights is not None or (options is not None and name is None):
        raise ModelError("--options and --weights go together; give both files, or --model FOLDER")
    if name is None:
        name = os.environ.get("ELMO_MODEL") or BUILT_IN
    model = _find_named(name, cache)
    if options is None:
        return model
    if model.format != "allennlp-archive":
        raise ModelError(f"--options stands beside --model only for an AllenNLP archive without options; {name} has its own")
    return replace(model, files={**model.files, "options": _existing(options, "options")})


def _find_pair(options: str, weights: str, cache: Cache) -> ModelFiles:
    """Two files; two URLs, which are known ones' as likely as not; or a file and a URL."""
    if "://" not in options and "://" not in weights:
        files = {"options": _existing(options, "options"), "weights": _existing(weights, "weights")}
        return ModelFiles(files["weights"].stem, "allennlp", files)
    if "://" not in options:
        return _with_one_fetched(weights, {"options": _existing(options, "options")}, cache)
    if "://" not in weights:
        return _with_one_fetched(options, {"weights": _existing(weights, "weights")}, cache)
    for known in load_catalogue().values():
        if len(known.files) == 2 and all(url in file.urls for url, file in zip((options, weights), known.files, strict=True)):
            return find_known(known, cache)
    return find_known(_at_urls(options, weights), cache)


def _with_one_fetched(url: str, local: Mapping[str, Path], cache: Cache) -> ModelFiles:
    """A model of one local file and one that is fetched; the hash of that one is kept from the first time on."""
    known = _at_urls(url)
    (part,) = {"options", "weights"} - local.keys()
    path = cache.place(known.name) / known.files[0].name
    both = {**local, part: path}
    model = ModelFiles(archives.stem(both["weights"]), "allennlp", {name: both[name] for name in ("options", "weights")})
    with cache.failing_as_model_error():
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


def _existing(path: str | Path, what: str) -> Path:
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such {what} file; check its path")
    return Path(path)


def known_model(name: str) -> KnownModel:
    """A model by its name in the catalogue, or by the URL of an archive.

    Raises:
        ModelError: There is none of that name.
    """
    if "://" in name:
        return _at_urls(name)
    catalogue = load_catalogue()
    if name not in catalogue:
        close = get_close_matches(name.lower(), catalogue, n=3)
        meant = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ModelError(
            f"{name}: no such model{meant}; pass a folder or archive that holds one, its URL, or a name that elmo models lists"
        )
    return catalogue[name]


def _at_urls(*urls: str) -> KnownModel:
    """What lies at the URL of an archive, or at those of two files."""
    for url in urls:
        if not re.fullmatch(r"https?://[^/]+/.+", url):
            raise ModelError(f"{redact_url(url)}: not the URL of a file; pass one that begins with https://")
    bases = [re.sub(r"[^\w.-]", "_", url.partition("?")[0].rstrip("/").rpartition("/")[2]).lstrip(".") for url in urls]
    if len(urls) == 2:
        bases = [f"{part}_{base}" for part, base in zip(("options", "weights"), bases, strict=True)]
    files = tuple(WebFile(base or "model", (url,)) for base, url in zip(bases, urls, strict=True))
    place, unknown = f"url-{hashlib.sha256(' '.join(urls).encode()).hexdigest()[:16]}", "not stated"
    return KnownModel(place, unknown, unknown, unknown, unknown, unknown, "allennlp", files)


def find_known(known: KnownModel, cache: Cache, *, fetching: bool = True) -> ModelFiles:
    """A known model's files in the cache, where they were put by hand or are now fetched; each is the one that it was before.

    Raises:
        ElmoError: They are not there and cannot be fetched, or are others than they should be.
    """
    if not known.files:
        return replace(find_in_folder(TINY), built_in=True)
    with cache.failing_as_model_error():
        if not known.is_in(cache.place(known.name)):
            if not fetching:
                raise ModelError(
                    f"{known.name}: is not in the cache ({cache.place(known.name)}); elmo models download {known.name} brings it there"
                )
            _fetch_files(known, cache)
        model = _find_in_cache(known, cache)
        for path, published in cached_files(known, cache, model):
            check_hash(path, published)
    return model


def cached_files(known: KnownModel, cache: Cache, model: ModelFiles) -> list[tuple[Path, str | None]]:
    """The files that a model in the cache is made of, each with its published hash: as they were fetched, or put there by hand."""
    named = [(cache.place(known.name) / file.name, file.hash) for file in known.files]
    return named if all(path.is_file() for path, _ in named) else [(path, None) for path in model.files.values()]


def _fetch_files(known: KnownModel, cache: Cache) -> None:
    """Fetch what the cache lacks of a model, and make sure that it loads."""
    _fetch_missing(known, cache, lambda: _believe(known, cache))


def _fetch_missing(known: KnownModel, cache: Cache, check: Callable[[], object] = lambda: None) -> None:
    """Fetch the files that the cache lacks, and `check` them; two runs that want the same ones wait for each other."""
    place = cache.place(known.name)
    missing = [file for file in known.files if not (place / file.name).is_file()]
    if cache.offline:
        raise DownloadError(f"{known.name}: is not in the cache, and nothing is fetched offline; {_by_hand(missing, place)}")
    from filelock import FileLock, Timeout

    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        cache.say(f"{known.name}: another run is fetching it; waiting")
        lock.acquire()
    with lock:
        missing = [file for file in missing if not (place / file.name).is_file()]
        try:
            for file in missing:
                fetch(file, place, cache.progress)
        except DownloadError as error:
            raise DownloadError(f"{error}; {_by_hand(missing, place)}") from None
        if missing:
            check()


def _by_hand(files: Sequence[WebFile], place: Path) -> str:
    """What to do without this program's downloads."""
    return "by hand, put " + " and ".join(f"{redact_url(file.urls[0])} at {place / file.name}" for file in files)


def _believe(known: KnownModel, cache: Cache) -> None:
    """What was fetched must load as a model before its hash is kept: a server may have sent something else, or less."""
    model = _load(known, cache, lambda: _find_in_cache(known, cache))
    for path, published in cached_files(known, cache, model):
        recorded = check_hash(path, published)
        if recorded:
            cache.say(f"{path.name}: no hash of it is published; its sha256 {recorded} is kept, and holds from now on")


def _load(known: KnownModel, cache: Cache, find: Callable[[], ModelFiles]) -> ModelFiles:
    """Find and load a model; where that fails, what was fetched without a published hash is deleted."""
    try:
        model = find()
        model.load()
    except ModelError:
        for file in known.files:
            if file.hash is None:
                path = cache.place(known.name) / file.name
                path.unlink(missing_ok=True)
                forget_hash(path)
        raise
    return model


def _find_in_cache(known: KnownModel, cache: Cache) -> ModelFiles:
    place, paths = cache.place(known.name), [cache.place(known.name) / file.name for file in known.files]
    name = archives.stem(paths[-1]) if known.name.startswith("url-") else known.name
    if not all(path.is_file() for path in paths):
        return find_in_folder(place, name)
    if len(paths) == 1:
        return find_in_archive(paths[0], cache, name)
    return ModelFiles(name, known.format, dict(zip(("options", "weights"), paths, strict=True)))
