"""Build the job app: the zip file that travels with a job and needs Python only, and ROOT where it is used.

::

    __main__.py
    airflow_provider_caf/__init__.py, py.typed, core/, execution/, worker/
    user/<the user's modules>
    user/_files.json                 which files were named by path, and as which modules they travel
    files/<collection>/<name>        what a collection wants in the work folder of its jobs

Modules are found, never imported: they may need software that only a job's machine has. What a module imports
travels too when it lies beside it or on a search path that is no installation.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from importlib import invalidate_caches
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError, explain_os_error
from airflow_provider_caf.core.job_app import PACKAGE, TRAVELLING, build_own_entries, pack_entries
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.reference import parse_reference
from airflow_provider_caf.core.suggestions import suggest_word

_USER = "user"
_FILES_ENTRY = f"{_USER}/_files.json"
JOB_FILES = "files"


@record
class UserModule:
    """A top-level module or package of the user.

    :param folder: where it was found.
    :param files: its source files, by their path in the folder.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]


def build_job_app(
    target: Path,
    references: Iterable[str],
    search_paths: Sequence[str] | None = None,
    *,
    files: Mapping[str, Path] | None = None,
) -> str:
    """Write the job app. The same sources give the same bytes.

    :param target: the file to write; its folder must exist.
    :param references: the user's classes and functions: `package.module:Name` or `/path/to/file.py:Name`.
    :param search_paths: where modules are looked for; None: where Python does.
    :param files: `<collection>/<name>` → a file that travels too.
    :returns: the SHA-256 of the file, in hex.
    :raises DefinitionError: if a file or module is not there, or a module is not Python or cannot travel under its
        name.
    """
    # Modules may have been written a moment ago, and finders remember what a folder held.
    invalidate_caches()
    paths = [path or "." for path in (sys.path if search_paths is None else search_paths)]
    modules, named_files = collect_user_modules(references, paths)
    entries = {**build_own_entries(), _FILES_ENTRY: json.dumps(named_files, sort_keys=True).encode()}
    for module in modules.values():
        for file in module.files:
            entries[f"{_USER}/{file.as_posix()}"] = (module.folder / file).read_bytes()
    for name, path in (files or {}).items():
        entries[f"{JOB_FILES}/{name}"] = _read_job_file(name, path)
    data = pack_entries(entries)
    write_bytes(target, data)
    return hashlib.sha256(data).hexdigest()


def _read_job_file(name: str, path: Path) -> bytes:
    collection, _, file = name.partition("/")
    hint = "Correct its path in job_files. Where the definition was made of a script, import that again."
    what = f"The job file {file!r} of collection {collection!r} cannot be read: {path}"
    with explain_os_error(DefinitionError, what, hint):
        return path.read_bytes()


def collect_user_modules(
    references: Iterable[str], paths: Sequence[str]
) -> tuple[dict[str, UserModule], dict[str, str]]:
    """Find the modules that references name, and those that they import, without importing any.

    :returns: the modules by their names, and the module of each file that was named by its path.
    :raises DefinitionError: as `build_job_app`.
    """
    modules: dict[str, UserModule] = {}
    named_files: dict[str, str] = {}
    for reference in sorted(set(references)):
        source, _ = parse_reference(reference, "reference")
        if source.startswith("/"):
            module = _find_file(source, reference)
            named_files[source] = module.name
        elif source.partition(".")[0] == PACKAGE:
            _check_own_module(source, reference)
            continue
        else:
            module = _find_module(source, reference, paths)
        _add(modules, module)
    known = [path for path in paths if not _is_installation(Path(path))]
    waiting = list(modules.values())
    while waiting:
        module = waiting.pop()
        for name in sorted(_list_imports(module)):
            if name in modules or name in sys.stdlib_module_names or name == PACKAGE:
                continue
            beside = [] if _is_installation(module.folder) else [str(module.folder)]
            imported = _find_sources(name, [*beside, *known])
            if imported is not None:
                modules[name] = imported
                waiting.append(imported)
    return dict(sorted(modules.items())), named_files


def _find_file(source: str, reference: str) -> UserModule:
    path = Path(source)
    if not path.is_file():
        raise DefinitionError(f"{reference!r} cannot be found: there is no file {source}.", hint="Check the path.")
    name = path.stem
    if not name.isidentifier():
        raise DefinitionError(
            f"{reference!r} cannot travel with a job: {path.name} cannot be the name of a module.",
            hint=f"Rename it, say to {re.sub(r'[^0-9A-Za-z_]', '_', name)}.py.",
        )
    return UserModule(name=name, folder=path.parent, files=(Path(path.name),))


def _find_module(source: str, reference: str, paths: Sequence[str]) -> UserModule:
    top, *rest = source.split(".")
    module = _find_sources(top, paths)
    if module is None:
        spec = PathFinder.find_spec(top, paths)
        if top in sys.stdlib_module_names or spec is not None:
            raise DefinitionError(
                f"{reference!r} cannot travel with a job: the module {top!r} is not Python source of yours.",
                hint="Name a class in a module of your own.",
            )
        raise DefinitionError(
            f"{reference!r} cannot be found: there is no module {top!r} in {', '.join(paths)}.",
            hint=_suggest_module(top, paths),
        )
    inside = Path(*rest) if rest else None
    if inside is not None and not any(
        Path(top, inside).with_suffix(".py") == file or Path(top, inside, "__init__.py") == file
        for file in module.files
    ):
        raise DefinitionError(
            f"{reference!r} cannot be found: {module.folder / top} has no module {'.'.join(rest)!r}.",
            hint="Check the spelling.",
        )
    return module


def _find_sources(name: str, paths: Sequence[str]) -> UserModule | None:
    """Find the sources of a top-level module; None if there are none."""
    spec = None if name in sys.stdlib_module_names else PathFinder.find_spec(name, paths)
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        root = Path(next(iter(spec.submodule_search_locations)))
        files = tuple(sorted(path.relative_to(root.parent) for path in root.rglob("*.py")))
        return UserModule(name=name, folder=root.parent, files=files) if files else None
    if spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
        return None
    path = Path(spec.origin)
    return UserModule(name=name, folder=path.parent, files=(Path(path.name),))


def _add(modules: dict[str, UserModule], module: UserModule) -> None:
    if module.name in sys.stdlib_module_names:
        raise DefinitionError(
            f"{module.folder / module.files[0]} cannot travel with a job: Python has a module of that name.",
            hint="Rename it.",
        )
    known = modules.setdefault(module.name, module)
    if (known.folder / known.files[0]).resolve() != (module.folder / module.files[0]).resolve():
        raise DefinitionError(
            f"{known.folder / known.files[0]} and {module.folder / module.files[0]} cannot travel together: "
            f"both would be the module {module.name!r}.",
            hint="Rename one of them.",
        )


def _list_imports(module: UserModule) -> set[str]:
    """List the top-level names that a module imports, anywhere in its code."""
    names: set[str] = set()
    for file in module.files:
        path = module.folder / file
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError) as error:
            raise DefinitionError(
                f"It is not Python: {error}.",
                file=str(path),
                line=getattr(error, "lineno", None),
                hint="Correct it; it would travel with every job.",
            ) from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    return names


def _check_own_module(source: str, reference: str) -> None:
    parts = source.split(".")
    if len(parts) < 2 or parts[1] not in TRAVELLING:
        raise DefinitionError(
            f"{reference!r} cannot travel with a job: of {PACKAGE} only {', '.join(TRAVELLING)} do.",
            hint="Name a class of your own.",
        )


def _is_installation(path: Path) -> bool:
    """Return whether a folder holds installed packages, of which a job has its own."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    installed = [*site.getsitepackages(), *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))]
    resolved = path.resolve()
    return any(resolved.is_relative_to(Path(folder).resolve()) for folder in installed) or not resolved.is_dir()


def _suggest_module(name: str, paths: Sequence[str]) -> str:
    folders = [Path(path) for path in paths if not _is_installation(Path(path))]
    near = suggest_word(name, {path.stem for folder in folders for path in folder.glob("*.py")})
    question = "" if near is None else f"Did you mean {near!r}? "
    return f"{question}Put the module beside the definition, or its folder on PYTHONPATH."
