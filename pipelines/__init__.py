"""Pipelines: context, readers and strategies built from stages."""

if __name__ != "ragkit.pipelines":
    raise ImportError("import ragkit.pipelines, not pipelines: the folder pipelines/ is installed as ragkit.pipelines")
