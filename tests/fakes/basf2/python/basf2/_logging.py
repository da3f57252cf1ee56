"""Messages, by their level."""

import sys


class LogLevel:
    """How much is told."""

    DEBUG, INFO, WARNING, ERROR, FATAL = range(5)


_state = {"level": LogLevel.INFO, "file": None}


def set_log_level(level):
    """Tell what is at least of this level."""
    _state["level"] = level


def reset_log():
    """Write to the terminal again."""
    _state["file"] = None


def log_to_file(name, append=False):
    """Write to a file, too."""
    _state["file"] = name
    with open(name, "a" if append else "w"):
        pass


def _tell(level, name, text):
    if level < _state["level"]:
        return
    line = f"[{name}] {text}\n"
    sys.stdout.write(line)
    if _state["file"]:
        with open(_state["file"], "a") as log:
            log.write(line)


def B2DEBUG(level, text, **_):
    _tell(LogLevel.DEBUG, f"DEBUG:{level}", text)


def B2INFO(text, **_):
    _tell(LogLevel.INFO, "INFO", text)


def B2WARNING(text, **_):
    _tell(LogLevel.WARNING, "WARNING", text)


def B2ERROR(text, **_):
    _tell(LogLevel.ERROR, "ERROR", text)


def B2FATAL(text, **_):
    """Tell it, and end the program."""
    _tell(LogLevel.FATAL, "FATAL", text)
    sys.exit(1)
