"""Where constants come from. basf2 looks at local databases first, then at global tags."""

import os


class Conditions:
    """The settings of the conditions database.

    A global tag is a folder of that name in `$FAKE_BASF2_GLOBALTAGS`, with a `database.txt`.
    """

    def __init__(self):
        self.default_globaltags = ["main_fake"]
        self.reset()

    def reset(self):
        """Forget everything that was set."""
        self._globaltags = []
        self._testing_payloads = []
        self._override = False
        self._apply()

    def override_globaltags(self, tags=None):
        """Take no notice of what input files name."""
        self._override = True
        if tags is not None:
            self.globaltags = tags

    @property
    def override_enabled(self):
        """Whether input files have nothing to say."""
        return self._override

    @property
    def globaltags(self):
        """The global tags, first hit wins."""
        return list(self._globaltags)

    @globaltags.setter
    def globaltags(self, tags):
        self._globaltags = list(tags)
        self._apply()

    @property
    def testing_payloads(self):
        """The local databases, first hit wins."""
        return list(self._testing_payloads)

    @testing_payloads.setter
    def testing_payloads(self, files):
        self._testing_payloads = list(files)
        self._apply()

    def prepend_globaltag(self, tag):
        """Look at a tag before the others."""
        self.globaltags = [tag, *self._globaltags]

    def append_globaltag(self, tag):
        """Look at a tag after the others."""
        self.globaltags = [*self._globaltags, tag]

    def prepend_testing_payloads(self, file):
        """Look at a local database before the others."""
        self.testing_payloads = [file, *self._testing_payloads]

    def append_testing_payloads(self, file):
        """Look at a local database after the others."""
        self.testing_payloads = [*self._testing_payloads, file]

    def expert_settings(self, **settings):
        """Set where new payloads are written, as `save_payloads`."""
        unknown = set(settings) - {"save_payloads"}
        if unknown:
            raise TypeError(f"unknown settings: {unknown}")
        if "save_payloads" in settings:
            self._cpp().savePayloads = str(settings["save_payloads"])
        return {"save_payloads": str(self._cpp().savePayloads)}

    def _apply(self):
        folder = os.environ.get("FAKE_BASF2_GLOBALTAGS")
        tags = [os.path.join(folder, tag, "database.txt") for tag in self._globaltags] if folder else []
        databases = self._cpp().databases
        databases.clear()
        for path in [*self._testing_payloads, *tags]:
            databases.push_back(str(path))

    @staticmethod
    def _cpp():
        import ROOT

        return ROOT.Belle2.FakeConditions.Instance()


class _Lazy:
    """Make the settings when they are first used: ROOT is slow to load."""

    def __init__(self):
        object.__setattr__(self, "_made", None)

    def _get(self):
        if self._made is None:
            object.__setattr__(self, "_made", Conditions())
        return self._made

    def __getattr__(self, name):
        if name == "default_globaltags":
            return ["main_fake"]
        return getattr(self._get(), name)

    def __setattr__(self, name, value):
        setattr(self._get(), name, value)


conditions = _Lazy()
