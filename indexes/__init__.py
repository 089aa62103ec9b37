"""Indexes: one folder or file a kind; each offers an IndexSpec and a Searcher (see `ragkit.protocols`)."""

if __name__ != "ragkit.indexes":
    raise ImportError("import ragkit.indexes, not indexes: the folder indexes/ is installed as ragkit.indexes")
