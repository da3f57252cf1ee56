"""Paths as plain values, and back."""

import copy
import pickle

from basf2._modules import ConditionOperator, register_module
from basf2._path import create_path


def serialize_conditions(module):
    """Give the conditions of a module as dicts."""
    return [
        {
            "value": condition.get_value(),
            "operator": int(condition.get_operator()),
            "path": serialize_path(condition.get_path()),
            "option": int(condition.get_after_path()),
        }
        for condition in module.get_all_conditions()
    ]


def serialize_module(module):
    """Give a module as a dict."""
    if module.type() == "PyModule":
        raise RuntimeError(f"Module '{module.name()}' is a Python module, which cannot be dumped!")
    return {
        "name": module.name(),
        "type": module.type(),
        "flag": False,
        "parameters": [
            {"name": param.name, "values": copy.deepcopy(param.values)}
            for param in module.available_params()
            if param.setInSteering
        ],
        "condition": serialize_conditions(module) if module.has_condition() else None,
    }


def serialize_path(path):
    """Give a path as a dict."""
    return {"modules": [serialize_module(module) for module in path.modules()]}


def deserialize_module(value):
    """Make a module of a dict."""
    module = register_module(value["type"])
    module.set_name(value["name"])
    module.param({param["name"]: param["values"] for param in value["parameters"]})
    for each in value["condition"] or ():
        sign = ConditionOperator(each["operator"]).name
        module.if_value(f"{sign}{each['value']}", deserialize_path(each["path"]), each["option"])
    return module


def deserialize_path(value):
    """Make a path of a dict."""
    path = create_path()
    for module in value["modules"]:
        path.add_module(deserialize_module(module))
    return path


def write_path_to_file(path, filename):
    """Write a path to a file."""
    with open(filename, "bw") as file:
        pickle.dump(serialize_path(path), file)


def get_path_from_file(filename):
    """Read a path from a file."""
    with open(filename, "br") as file:
        return deserialize_path(pickle.load(file))
