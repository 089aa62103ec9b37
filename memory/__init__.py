"""Long-term memory over a collection; nothing is built in yet."""

if __name__ != "ragkit.memory":
    raise ImportError("import ragkit.memory, not memory: the folder memory/ is installed as ragkit.memory")
