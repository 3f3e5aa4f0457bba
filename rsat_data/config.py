"""Configuration: one frozen dataclass a stage, filled from defaults, a YAML file and ``--set`` in that order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rsat_data.errors import ConfigError

T = TypeVar("T")

_MAX_BYTES = 1 << 20


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build a frozen dataclass from a mapping, checking names and types.

    Args:
        cls: the dataclass.
        values: field name -> value; missing fields keep their default.
        where: what to call the section in messages.

    Raises:
        ConfigError: names the field, the value given and what was expected.
    """
    from pydantic import TypeAdapter, ValidationError

    if not is_dataclass(cls):
        raise TypeError(f"{cls} is not a dataclass")
    known = [item.name for item in fields(cls)]
    for name in values:
        if name not in known:
            raise ConfigError(
                f"There is no option {where}.{name}.", hint=f"Options of {where}: {', '.join(known) or 'none'}."
            )
    hints = get_type_hints(cls)
    values = {
        # Checked here, because a misspelt name inside would be passed over below.
        name: from_mapping(hints[name], value, where=f"{where}.{name}")
        if is_dataclass(hints[name]) and isinstance(value, Mapping)
        else value
        for name, value in values.items()
    }
    try:
        # Through JSON-like data, so that lists become tuples and numbers are checked, never guessed from text.
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *[str(part) for part in first["loc"]]])
        raise ConfigError(f"{place}: {first['msg']} (given: {first['input']!r}).") from error


def read_yaml(path: Path, *, what: str) -> dict[str, Any]:
    """Read a small YAML mapping with the safe loader.

    Raises:
        ConfigError: the file is missing, too large, not YAML, or not a mapping.
    """
    import yaml

    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"The {what} {path} is larger than 1 MiB.", path=path)
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The {what} {path} cannot be read: {error}.", path=path) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The {what} {path} is not valid YAML: {error}.", path=path) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"The {what} {path} must hold a mapping of names to values.", path=path)
    return value


def parse_sets(settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Turn ``section.key=value`` texts into nested mappings; values are YAML scalars or lists.

    A key with dots, such as ``flame.photometric.samples``, reaches into an option that is itself a group of options.
    """
    import yaml

    result: dict[str, dict[str, Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot or not section or not key:
            raise ConfigError(
                f"--set {setting!r} is not of the form section.key=value.", hint="Example: --set flame.iterations=8"
            )
        *groups, last = key.split(".")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {setting!r}: the value is not valid YAML: {error}.") from error
        place = result.setdefault(section, {})
        for group in groups:
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {setting!r}: {section}.{group} was given a value of its own before.")
            place = inner
        place[last] = value
    return result


def merge(*layers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Merge section mappings; later layers win, key by key, in groups of options within a section too."""
    result: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            if not isinstance(values, Mapping):
                raise ConfigError(f"The configuration section {section!r} must hold a mapping.")
            _update(result.setdefault(str(section), {}), values)
    return result


def _update(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _update(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class DatasetConfig:
    """What concerns the dataset as a whole."""

    name: str = "rsat-dataset"
    """Name on the dataset card."""
    seed: int = 0
    """Decides which connected component goes to which split."""
    train: float = 0.8
    """Aimed share of the rows in train."""
    validation: float = 0.1
    """Aimed share of the rows in validation."""
    test: float = 0.1
    """Aimed share of the rows in test."""
    description: str = ""
    """A paragraph for the dataset card."""
    gate: tuple[str, ...] = ()
    """Conditions that a clip must meet to be in the dataset, such as q_sync>0.3 (docs/gates.md)."""


def resolve(sections: Mapping[str, type[Any]], file: Path | None, settings: Iterable[str]) -> dict[str, Any]:
    """Build every section's config from defaults, file and settings.

    Args:
        sections: section name -> dataclass.
        file: YAML file or None.
        settings: ``section.key=value`` texts.

    Returns:
        section name -> frozen dataclass.
    """
    layers = [read_yaml(file, what="configuration file")] if file else []
    values = merge(*layers, parse_sets(settings))
    for section in values:
        if section not in sections:
            raise ConfigError(
                f"There is no configuration section {section!r}.", hint=f"Sections: {', '.join(sections)}."
            )
    return {name: from_mapping(cls, values.get(name, {}), where=name) for name, cls in sections.items()}


def as_mapping(config: Any) -> dict[str, Any]:
    """A config dataclass as a JSON-able mapping."""
    return asdict(config)
