"""Where constants come from. basf2 looks at local databases first, then at global tags."""

import os
import sys
from collections.abc import MutableSequence


class _Watched(MutableSequence):
    """A list that tells of every change."""

    def __init__(self, items, tell):
        self._items = [str(item) for item in items]
        self._tell = tell

    def __len__(self):
        return len(self._items)

    def __getitem__(self, at):
        return self._items[at]

    def __setitem__(self, at, item):
        self._items[at] = item
        self._tell()

    def __delitem__(self, at):
        del self._items[at]
        self._tell()

    def insert(self, at, item):
        self._items.insert(at, str(item))
        self._tell()

    def __eq__(self, other):
        return list(self) == list(other)

    __hash__ = None

    def __add__(self, other):
        return [*self, *other]

    def __repr__(self):
        return repr(self._items)


def _watch(attribute, text):
    """Make the property of a list of which every change counts at once."""

    def replace(conditions, items):
        setattr(conditions, attribute, _Watched(items, conditions.push))
        conditions.push()

    return property(lambda conditions: getattr(conditions, attribute), replace, doc=text)


class Conditions:
    """The settings of the conditions database.

    A global tag is a folder of that name in `$FAKE_BASF2_GLOBALTAGS`, with a `database.txt`.
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Forget everything that was set, also where new payloads are written."""
        self._save_payloads = "localdb/database.txt"
        self._others = {}
        self._globaltags = _Watched((), self.push)
        self._testing_payloads = _Watched((), self.push)
        self._override = False
        self.metadata_providers = []
        self.payload_locations = []
        self.push()

    def override_globaltags(self, list=None):
        """Use no other global tags than those that are set."""
        self._override = True
        if list is not None:
            self.globaltags = list
        self.push()

    def disable_globaltag_replay(self):
        """Do the same, without a list."""
        self.override_globaltags()

    @property
    def default_globaltags(self):
        """The global tags of the release; they come after those that are set."""
        return ["main_fake"]

    @property
    def override_enabled(self):
        """Whether input files and defaults have nothing to say."""
        return self._override

    globaltags = _watch("_globaltags", "The global tags, first hit wins.")
    testing_payloads = _watch("_testing_payloads", "The local databases, first hit wins.")

    def prepend_globaltag(self, name):
        """Look at a tag before the others."""
        self._globaltags.insert(0, name)

    def append_globaltag(self, name):
        """Look at a tag after the others."""
        self._globaltags.append(name)

    def prepend_testing_payloads(self, filename):
        """Look at a local database before the others."""
        self._testing_payloads.insert(0, filename)

    def append_testing_payloads(self, filename):
        """Look at a local database after the others."""
        self._testing_payloads.append(filename)

    def expert_settings(self, **settings):
        """Set where new payloads are written, as `save_payloads`. Other settings are kept, and do nothing."""
        if "save_payloads" in settings:
            self._save_payloads = str(settings.pop("save_payloads"))
        self._others.update(settings)
        self.push()
        return {"save_payloads": self._save_payloads, **self._others}

    def list_databases(self):
        """Give all files that say which payload is valid when, first hit wins."""
        folder = os.environ.get("FAKE_BASF2_GLOBALTAGS")
        tags = [*self._globaltags, *(() if self._override else self.default_globaltags)]
        return [*self._testing_payloads, *(os.path.join(folder, tag, "database.txt") for tag in tags if folder)]

    def push(self):
        """Hand it on to the C++ side, if ROOT is there: loading it takes its time. When it is loaded it asks for it."""
        cpp = getattr(sys.modules.get("ROOT"), "Belle2", None)
        if cpp is None:
            return
        settings = cpp.FakeConditions.Instance()
        settings.savePayloads = self._save_payloads
        settings.databases.clear()
        for path in self.list_databases():
            settings.databases.push_back(path)


conditions = Conditions()
