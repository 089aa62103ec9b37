"""Rerankers: stages that reorder each query's hits; none is built in yet."""

if __name__ != "ragkit.rerankers":
    raise ImportError("import ragkit.rerankers, not rerankers: the folder rerankers/ is installed as ragkit.rerankers")
