"""Messages, by their level."""

import sys


class LogLevel:
    """How much is told."""

    DEBUG, INFO, RESULT, WARNING, ERROR, FATAL = range(6)
    default = INFO


class FatalError(SystemExit):
    """The end of the program, with exit code 1."""


class Logging:
    """What is told, and where: to the terminal until `reset`."""

    def __init__(self):
        self.log_level = LogLevel.default
        self.debug_level = 100
        self._console = True
        self._files = []

    def reset(self):
        """Tell nobody anything, until there is a file or a terminal again."""
        self._console = False
        self._files = []

    def add_console(self, _color=False):
        """Write to the terminal."""
        self._console = True

    def add_file(self, name, append=False):
        """Write to a file, too."""
        with open(name, "a" if append else "w"):
            pass
        self._files.append(name)

    def tell(self, level, name, text, variables):
        """Write a message if its level is high enough."""
        if level < self.log_level:
            return
        lines = "".join(f"\t{key} = {value}\n" for key, value in variables.items())
        message = f"[{name}] {text}\n{lines}"
        if self._console:
            sys.stdout.write(message)
            sys.stdout.flush()
        for path in self._files:
            with open(path, "a") as file:
                file.write(message)


logging = Logging()


def set_log_level(level):
    """Tell what is at least of this level."""
    logging.log_level = level


def set_debug_level(level):
    """Tell debug messages up to this level, where debug messages are told."""
    logging.debug_level = level


def reset_log():
    """Take away the terminal and all files."""
    logging.reset()


def log_to_file(name, append=False):
    """Write to a file, too."""
    logging.add_file(name, append)


def log_to_console(color=False):
    """Write to the terminal again."""
    logging.add_console(color)


def B2DEBUG(level, text, **variables):
    """Tell a detail; the higher its level, the finer."""
    if level <= logging.debug_level:
        logging.tell(LogLevel.DEBUG, f"DEBUG:{level}", text, variables)


def B2INFO(text, **variables):
    """Tell something."""
    logging.tell(LogLevel.INFO, "INFO", text, variables)


def B2RESULT(text, **variables):
    """Tell a result."""
    logging.tell(LogLevel.RESULT, "RESULT", text, variables)


def B2WARNING(text, **variables):
    """Tell what may be wrong."""
    logging.tell(LogLevel.WARNING, "WARNING", text, variables)


def B2ERROR(text, **variables):
    """Tell what is wrong; the program goes on."""
    logging.tell(LogLevel.ERROR, "ERROR", text, variables)


def B2FATAL(text, **variables):
    """Tell what is wrong, and end the program."""
    logging.tell(LogLevel.FATAL, "FATAL", text, variables)
    raise FatalError(1)
