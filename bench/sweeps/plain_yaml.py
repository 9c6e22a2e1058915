"""A safe subset of YAML: the plain scalars of YAML 1.2, no key twice, no tag that makes a Python object."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from bench.contracts import InputError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars: `no` is a word, `2e-3` a number, `010` ten; a key may be given once."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_document(self, node: Node) -> Any:
        self.deep_construct = True  # so that a value that holds itself, by an alias, is refused
        return super().construct_document(node)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _scalar(tag: str, pattern: str, first: str, make: Any) -> None:
    def construct(loader: _Loader, node: Node) -> Any:
        try:
            if not re.fullmatch(pattern, node.value):  # only an explicit tag can be wrong
                raise ValueError(f"'{node.value}' is no {tag}")
            return make(node.value)
        except (ValueError, TypeError, AttributeError) as error:  # a tag on something else, or thousands of digits
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
    _Loader.add_constructor(f"tag:yaml.org,2002:{tag}", construct)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_scalar("bool", "true|false", "tf", lambda text: text == "true")
_scalar("null", "null|~|", "n~", lambda text: None)
_Loader.yaml_implicit_resolvers.setdefault("", []).append(("tag:yaml.org,2002:null", re.compile("^$")))
_scalar("int", r"[-+]?[0-9]+", "-+0123456789", int)
_scalar(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    "-+0123456789.",
    _float,
)


def parse_yaml(text: str, place: str) -> Any:
    """The value of a YAML text. Raises InputError with line and column; tags that make Python objects are refused."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context
        if problem == "found unconstructable recursive node":
            problem = "an alias stands inside the value that it repeats"
        raise InputError(f"{place}{where}: not valid YAML: {problem}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, AttributeError) as error:  # a tag on what it does not fit
        raise InputError(f"{place}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{place}: nested too deeply") from error
