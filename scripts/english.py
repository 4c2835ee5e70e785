"""Count the words that make a sentence hard to read, in our comments and documents.

A sentence that says "who does that" or "what comes of it" hides its subject.  The kernel
has about one such word in 1,000; each group of our files may have LIMIT of either kind.
Shows the places, and exits 1 when a group has more.
"""
import collections
import re
import sys

sys.dont_write_bytecode = True
import comments  # noqa: E402 (beside this script)

LIMIT = 2.0
KINDS = {
    "who/those": re.compile(r"\b(who|whoever|whom|those)\b", re.I),
    "what": re.compile(r"\b(what|whatever)\b", re.I),
}
WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
GROUPS = ("driver", "include", "tests", "scripts", "documents")


def group(path):
    """The group that a file belongs to."""
    if path.endswith(".md") or path.startswith("docs/"):
        return "documents"
    top = path.split("/")[0]
    return {"drivers": "driver", "include": "include", "tests": "tests"}.get(top, "scripts")


def places(paths, pattern):
    """file:line for each match, a file once."""
    by_file = collections.defaultdict(list)
    for path, line, text in paths:
        by_file[path] += [str(line)] * len(pattern.findall(text))
    return [f"{path}:{','.join(lines)}" for path, lines in by_file.items() if lines]


def main():
    """The table, and the exit status."""
    lines = collections.defaultdict(list)
    for path in comments.files():
        lines[group(path)] += [(path, *line) for line in comments.text_of(path)]
    bad = False
    for name in GROUPS:
        words = sum(len(WORD.findall(text)) for _, _, text in lines[name])
        for kind, pattern in KINDS.items():
            count = sum(len(pattern.findall(text)) for _, _, text in lines[name])
            rate = 1000 * count / max(words, 1)
            over = rate > LIMIT
            bad |= over
            print(f"{name:10} {kind:10} {count:4} in {words:6} words, {rate:5.1f} per 1,000"
                  f"{f', more than {LIMIT:g}' if over else ''}")
            for place in places(lines[name], pattern):
                print(f"    {place}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
