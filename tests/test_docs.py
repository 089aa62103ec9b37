"""The documentation holds: its code runs, its outputs and help texts are true, its links lead somewhere, its demo answers.

`python -m tests.test_docs --write` puts the generated blocks (help texts, the error tree) into the pages anew.
In a ```console block a line ``[…]`` stands for any lines of output, and ``…`` for any characters of a line. Of a command
that names ``path/to/…``, a folder that only its reader has, the usage is checked and the output is not.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ragkit.errors
from ragkit import Answer, Collection
from ragkit.cli import main
from ragkit.evaluation.retrieval import evaluate_dataset
from ragkit.pipelines.extractive import Extractive
from tests import record_tables

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
READ = [*PAGES, *(p for p in [ROOT / "README.md"] if p.is_file())]

_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<kind>\w*)\n(?P<code>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: .+ -->\n\Z")
_LINK = re.compile(r"\[[^\]\[]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

# question, page of the first citation
QUESTIONS = [
    ("What is ragkit?", "index.md"),
    ("How do I install ragkit?", "getting-started.md"),
    ("Which Python version do I need?", "getting-started.md"),
    ("Where is the index of a folder stored?", "getting-started.md"),
    ("Can I use ragkit without internet?", "offline.md"),
    ("How do I write my own loader?", "extending.md"),
    ("How do I change the BM25 parameters?", "bm25.md"),
    ("How does ragkit survive a crash?", "storage-and-crashes.md"),
    ("Which file formats can ragkit read?", "loading-files.md"),
    ("What happens when two processes write at the same time?", "storage-and-crashes.md"),
    ("How long are old versions of a collection kept?", "storage-and-crashes.md"),
    ("Is a damaged file noticed when a collection is opened?", "storage-and-crashes.md"),
    ("What is the default size of a passage?", "chunking.md"),
    ("What is a token?", "chunking.md"),
    ("How do I delete documents?", "collections.md"),
    ("How can I search for documents rather than passages?", "collections.md"),
    ("What are the default values of k1 and b?", "bm25.md"),
    ("Which languages are supported by stemming?", "bm25.md"),
    ("When does ragkit say that nothing was found?", "answering.md"),
    ("How is the confidence of an answer computed?", "answering.md"),
    ("Can I combine the scores of two retrievers?", "pipelines.md"),
    ("How are ties broken?", "evaluation.md"),
    ("Does ragkit send telemetry?", "offline.md"),
    ("How do I add my own index?", "extending.md"),
    ("What does exit code 2 mean?", "errors.md"),
    ("Does ragkit run on Windows?", "limits.md"),
    ("Where does ragkit.open keep the collection?", "getting-started.md"),
    ("Which types can a metadata value have?", "documents.md"),
    ("Are symbolic links followed?", "loading-files.md"),
    ("How do I print JSON from the command line?", "command-line.md"),
]
UNANSWERABLE = [
    "Who won the football world cup of 1990?",
    "How do I bake bread with sourdough?",
    "How much does a licence for twenty users cost per month?",
    "What is the phone number of the support team?",
]
MANUALS = {
    "pump.md": "The pump has two gaskets. The outer gasket is replaced every 200 hours of running.\n",
    "boiler.md": "The boiler is checked in spring. Its valve opens at 3.5 bar.\n",
    "parking.md": "Staff may park behind building C. Visitors use the front.\n",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its content, the line of its fence, and whether it is to be run."""

    kind: str
    code: str
    line: int
    run: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["kind"], m["code"], text.count("\n", 0, m.start()) + 1, not _NOT_RUN.search(text[: m.start()]))
        for m in _BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def run_console(block: Block, page: Path) -> None:
    """Run each ``$ ragkit …`` line; what is shown below it must be what it prints."""
    for command in re.split(r"^(?=\$ )", block.code, flags=re.MULTILINE):
        line, _, shown = command.partition("\n")
        if not line.startswith("$ ragkit"):
            continue
        arguments = shlex.split(line, comments=True)[2:]
        done = CliRunner().invoke(main, arguments, prog_name="ragkit", terminal_width=80)
        placeholder = any(a.startswith("path/to/") and not Path(a).exists() for a in arguments)
        assert done.exit_code == (1 if placeholder else 0), f"{page.name}: {line}\n{done.output}{done.exception or ''}"
        if shown.strip() and not placeholder:
            pattern = "".join(r"(?:.*\n)*?" if s == "[…]" else re.escape(s).replace("…", ".*") + r"\n" for s in shown.splitlines())
            assert re.fullmatch(pattern, done.output), f"{page.name}: {line} printed\n{done.output}\nwhere the page has\n{shown}"


@pytest.mark.parametrize(
    "page", [p for p in READ if any(b.run and b.kind in ("python", "console") for b in blocks(p))], ids=lambda p: p.name
)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python and console blocks of a page, in order, where a copy of docs/ lies; the console sees the files that Python made, too."""
    python, console = tmp_path / "python", tmp_path / "console"
    shutil.copytree(DOCS, python / "docs")
    manuals = python / "path" / "to" / "manuals"  # what the README indexes
    manuals.mkdir(parents=True)
    for name, text in MANUALS.items():
        (manuals / name).write_text(text)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.kind == "python" and block.run:
            monkeypatch.chdir(python)
            code = "\n" * block.line + block.code  # so that a traceback names the line of the page
            exec(compile(code, str(page), "exec", dont_inherit=True), names)
        elif block.kind == "console" and block.run:
            shutil.copytree(python, console, dirs_exist_ok=True)
            monkeypatch.chdir(console)
            run_console(block, page)


def test_what_is_not_run_is_known_and_imports_what_there_is() -> None:
    """Blocks that need a model from a hub, a server or a long training: they compile, and what they import exists."""
    left = [(p.name, b) for p in READ for b in blocks(p) if not b.run]
    assert [name for name, _ in left] == [
        "iterative.md",
        *["knn-lm.md"] * 2,
        "language-models.md",
        "ngram.md",
        "reranking.md",
        *["speculative-decoding.md"] * 4,
        *["training-rerankers.md"] * 2,
    ]
    for _, block in left:
        tree = ast.parse(block.code)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), "imports", "exec", dont_inherit=True), {})


def help_text(command: str) -> str:
    done = CliRunner().invoke(main, [*command.split()[1:], "--help"], prog_name="ragkit", terminal_width=80)
    return str(done.output)


def generated() -> dict[tuple[str, str], str]:
    """(page, heading) → content of the first ```text block below that heading."""
    found = {("command-line.md", name): help_text(name) for name in ("ragkit", *(f"ragkit {c}" for c in main.commands))}
    tree = (ragkit.errors.__doc__ or "").split("\n\n")[1]
    return {**found, ("errors.md", "The tree"): tree + "\n", **{place: table() for place, table in record_tables.TABLES.items()}}


def section_block(text: str, heading: str) -> tuple[int, int]:
    """Where the content of the first ```text block below a heading starts and ends."""
    found = re.compile(rf"^## {re.escape(heading)}\n(?:(?!^## ).)*?^```text\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL).search(text)
    assert found, f"no ```text block under '## {heading}'"
    return found.span("block")


@pytest.mark.parametrize(("page", "heading"), generated())
def test_generated_blocks_are_up_to_date(page: str, heading: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    start, end = section_block(text, heading)
    assert text[start:end] == generated()[page, heading], "run: python -m tests.test_docs --write"


def write() -> None:
    """Put the generated blocks into their pages."""
    for (page, heading), content in generated().items():
        path = DOCS / page
        text = path.read_text(encoding="utf-8")
        start, end = section_block(text, heading)
        path.write_text(text[:start] + content + text[end:], encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in _HEADING.findall(prose(page))}


@pytest.mark.parametrize("page", READ, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}, which has no such heading"


def test_every_page_is_on_the_map_and_begins_with_its_title() -> None:
    linked = set(_LINK.findall(prose(DOCS / "index.md")))
    for page in PAGES:
        assert page.read_text(encoding="utf-8").startswith("# "), page.name
        assert page.name == "index.md" or page.name in linked, f"index.md does not link to {page.name}"


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    made = Collection.create(tmp_path_factory.mktemp("manual") / "c")
    assert made.sync(DOCS).skipped == []
    return made


def assert_quotes_are_spans(answer: Answer) -> None:
    for c in answer.citations:
        with open(DOCS / c.document, encoding="utf-8", newline="") as file:
            assert file.read()[c.start : c.end] == c.quote
        assert re.sub(r"^([-*+>•]|\d+[.)]) ", "", " ".join(c.quote.split())) in answer.text


@pytest.mark.parametrize(("question", "page"), QUESTIONS)
def test_the_manual_answers(manual: Collection, question: str, page: str) -> None:
    answer = manual.ask(question)
    assert answer.found, answer.trace
    assert answer.citations[0].document == page, str(answer)
    assert_quotes_are_spans(answer)


@pytest.mark.parametrize("question", UNANSWERABLE)
def test_the_manual_knows_what_it_does_not_say(manual: Collection, question: str) -> None:
    answer = manual.ask(question)
    assert not answer.found, str(answer)
    assert answer.citations == ()
    assert_quotes_are_spans(manual.ask(question, reader=Extractive(threshold=0)))


def test_the_measures_of_scifact_are_those_shown(data: Path) -> None:
    found = evaluate_dataset(data / "scifact", "bm25", ["nDCG@10", "R@100"])
    for line in str(found).splitlines()[:-1]:  # the last line is the time
        assert f"\n{line}\n" in (DOCS / "evaluation.md").read_text(encoding="utf-8")


def test_the_measures_of_answers_are_those_recorded() -> None:
    """The pages show what benchmarks/results holds; that a fresh run gives the same is tested with the reader."""
    q = json.loads((ROOT / "benchmarks" / "results" / "answers.json").read_text())["quality"]
    page, readme = prose(DOCS / "answering.md").replace(" %", "%"), prose(ROOT / "README.md").replace(" %", "%")
    low, high = q["xquad-en.gain_points_95"]
    ours, lead = (f"{q[f'xquad-en.{key}']:.1%}" for key in ("first_citation_has_answer", "first_sentence_of_top_hit_has_answer"))
    shown = [ours, lead, f"{q['xquad-en.gain_points']:.1f} ({low:.1f} to {high:.1f})", f"{q['xquad-en.answered_at_default_threshold']:.1%}"]
    for name in ("xquad-en", "hotpotqa"):
        shown.append(f"{q[f'{name}.abstention_auroc_odd_half']:.3f}")
        shown += [f"{q[f'{name}.answered_{which}_gold_odd_half_default']:.1%}" for which in ("with", "without")]
    assert re.findall(r"^\|[^|]*\|[^|]*\| (\d[^|]*?) \|$", page, re.MULTILINE) == shown
    for language in ("de", "es", "hi", "ar", "zh"):
        keys = ("first_citation_has_answer", "first_sentence_of_top_hit_has_answer", "abstention_auroc_odd_half")
        first, second, auroc = (q[f"xquad-{language}.{key}"] for key in keys)
        assert f"| xquad-{language} | {first:.1%} | {second:.1%} | {auroc:.3f} |" in page
    assert f"| {ours} (first sentence of the top hit: {lead}) |" in readme
    assert f"XQuAD-en {q['xquad-en.abstention_auroc_odd_half']:.3f}, HotpotQA {q['hotpotqa.abstention_auroc_odd_half']:.3f} |" in readme


def test_the_readme_shows_what_is_recorded() -> None:
    readme = prose(ROOT / "README.md")
    r, d = record_tables.record("bm25")["ratios"], record_tables.record("dense")
    faster = "{search_vs_bm25s} and {search_vs_tantivy} times as fast (worst cell {search_vs_bm25s_worst} and {search_vs_tantivy_worst})"
    assert faster.format(**r) in readme
    ours, theirs = (d["quality"][f"ndcg_scifact_{name}"] for name in ("ragkit", "sentence_transformers"))
    assert f"{d['ratios']['encode_vs_sentence_transformers']} times as fast, nDCG@10 on SciFact {ours} against {theirs}" in readme
    i = record_tables.record("ingest")["ratios"]
    faster = "{vs_haystack} and {vs_llama_index} times as fast (BM25 alone: {vs_haystack_bm25} and {vs_llama_index_bm25})"
    assert faster.format(**i) in readme
    q = record_tables.record("retrieval")["quality"]
    scifact = [f"{q[f'scifact nDCG@10 {s}']['mean']:.4f}" for s in ("dense", "hybrid", "tuned hybrid")]
    assert f"| {' / '.join(scifact)} |" in readme
    c, m = record_tables.record("crash"), {**record_tables.record("mutate")["ratios"], **record_tables.record("mutate")["quality"]}
    cuts = "{power_distinct_states:,}".format(**c["context"])
    race = record_tables.record("concurrency")
    assert f"| {race['quality']['torn_reads']} of {race['context']['searches']:,} |" in readme
    lost = "{lost_commits} and {power_cut_losses} losses".format(**c["quality"])
    assert (
        f"| 200 writers killed, {c['quality']['kills_inside_commit']} inside a commit, and {cuts} states after a power cut | {lost} |"
        in readme
    )
    s = record_tables.record("speculate")
    lookup = next(times for name, times in s["quality"]["times as fast as plain"].items() if "lookup" in name)
    figures = "{tokens_per_target_pass:.2f}, {wallclock_vs_plain:.2f} times".format(**s["ratios"])
    assert f"| {figures} (transformers' prompt lookup: {lookup} times) |" in readme
    assert f"| the same where nothing can be copied | {s['ratios']['worst_case_vs_plain']:.2f} times |" in readme
    costs = f"{100 * m['upsert_vs_rebuild']:.1f} % of indexing anew"
    assert f"| {costs}; a commit of one document {m['one_document_commit_p50_ms']:.1f} ms |" in readme
    assert f"| {m['peak_resident_GB_with_max_ram_1GB']:.2f} GB at most; opened in {m['open_seconds']:.2f} s |" in readme
    means = [f"{q[f'mean nDCG@10 {s}']:.3f}" for s in ("bm25", "dense", "hybrid")]
    assert f"| {' / '.join(means)} |" in readme
    t = {name: record_tables.record("cross_encoder")["quality"][f"{name} nDCG@10 interpolated"] for name in ("scifact", "cosqa")}
    low, high = t["scifact"]["gain's interval"]
    gain = f"{t['scifact']['gain over hybrid']:+.3f} ({low:+.3f} to {high:+.3f}), to {t['scifact']['mean']:.4f}"
    assert f"| {gain}; CoSQA {t['cosqa']['gain over hybrid']:+.3f} |" in readme
    w = record_tables.record("rerank")["ratios"]
    single = "{single_token_vs_generated_time:.2f} of the time, {single_token_vs_generated_passes:.3f} of the passes".format(**w)
    assert f"| {single} |" in readme
    assert f"| {w['prefix_reuse_vs_ideal']:.2f} times what is left to compute |" in readme
    n = record_tables.record("ngram")["ratios"]
    counts = " / ".join(f"{n[f'{preset}_count_vs_suffix_array']:.2f}" for preset in ("compact", "fast"))
    sizes = " / ".join(f"{n[f'{preset}_size_vs_text']:.2f}" for preset in ("compact", "fast"))
    assert f"| {counts} times the time in {sizes} bytes a byte |" in readme
    assert f"| all equal, in {n['count_vs_infini_gram']:.2f} / {n['next_tokens_vs_infini_gram']:.2f} of its time |" in readme
    grams = record_tables.record("ngram_retrieval")["quality"]
    bm25, fused = (grams[f"scifact {system}"] for system in ("bm25", "fused"))
    assert f"| {fused['mean']:.4f} (BM25 {bm25['mean']:.4f}, p = {fused['p against bm25']:.4f}) |" in readme
    quotes = record_tables.record("quotes")["quality"]
    assert f"| {100 * quotes['altered quotes flagged']:.1f} % / {100 * quotes['true quotes flagged']:.1f} % |" in readme
    mixed = record_tables.record("infinity_gram")["quality"]
    assert f"| {mixed['perplexity of docs-7m']:.2f} / {mixed['perplexity of the mixture']:.2f} |" in readme


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.test_docs --write")
    write()
