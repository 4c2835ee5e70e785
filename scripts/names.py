"""Prove that the names in our comments and documents exist.

In comments and documents: files of ours (X.c, scripts/X, tests/X, docs/X), functions and
constants of ours and all other words that begin with pmap_, nvme_pmap_, PMAP_ and
NVME_PMAP_, tests (t-X), and functions and structs nvme_* of the stock driver.  In
documents also `backticked` names and the lines of command blocks: make targets and
variables, options of our scripts, module parameters, sysfs attributes, manual pages.
Any other word with an underscore must stand somewhere in our code or in that of the
stock driver; names of other projects are in OUTSIDE.  CHANGELOG.md may have old names.

Names of the stock driver are taken from build/RELEASE/stock, which the build unpacks;
without it they are not checked, nor are words that could be such names.  A name in
capitals, as in FILE.c, stands for another; a star, as in PMAP_FALLBACK_*, for any end.
Exits 1 and names all that do not exist.
"""
import fnmatch
import glob
import os
import re
import sys

sys.dont_write_bytecode = True
import comments  # noqa: E402 (beside this script)
import csource  # noqa: E402 (beside this script)

EXEMPT = {"CHANGELOG.md"}
HOST = "drivers/nvme/host"
ENDS = r"(?:c|h|sh|py|md|cocci|\[ch\])"
PATH = re.compile(r"(?<![\w/.$}~+-])((?:scripts|tests|docs|drivers|include|hooks|pmap)"
                  r"/(?:[\w./*{},-]|\[\w+\])*(?:[\w*}/]|\[\w+\]))")
FILE = re.compile(rf"(?<![\w/.*\]}}-])([\w*-]+\.{ENDS})(?![\w/-])")
CALL = re.compile(r"(?<![\w.>-])((?:nvme|pmap)_\w+)\((?!\d\))")
WORD = re.compile(r"(?<![\w./-])((?:(?:nvme_)?pmap|(?:NVME_)?PMAP)_\w*\*?)(?!\w|\.\w|\(\d\))")
STRUCT = re.compile(r"\bstruct (nvme_\w+)")
TEST = re.compile(r"(?<![\w/.-])(t-[a-z]+(?:-[a-z]+)*)(?![\w*-])")
PARAMETER = re.compile(r"(?<![\w./-])nvme(?:_core)?(?:\.| (?=\w+=))((?!ko\b)[a-z]\w*)")
PAGE = re.compile(r"(?<![\w.-])((?:nvme|pmap)_\w+)`?\((\d)\)")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
ATTRIBUTE = re.compile(r"(?:^|/)pmap/([a-z_]+\*?)(?![\w./-])")
# DEVICE_ATTR_RW(name), and lists of (name, function or index) that a macro makes into some.
ATTRIBUTES = r"\bDEVICE_ATTR\w*\((\w+)|\b[A-Z]\w*\(([a-z]\w*),\s*(?:PMAP|nvme_pmap)_"
SNAKE = re.compile(r"(?<![\w./%-])([a-z][a-z0-9]*(?:_[a-z0-9]+)+_?\*?)(?!\w|\.\w|\(\d\))")
# Headers that the build writes.
GENERATED = {"ubuf.h"}
# Names of other projects, and of parts of the kernel that the build does not unpack.
OUTSIDE = re.compile(r"io_uring_\w+|bdev_xnvme|dma_map|debug_locks_off")


def stripped(path, source):
    """The code of a file, without comments."""
    if comments.kind(path, source) in ("c", "cocci"):
        return csource.TOKEN.sub(
            lambda m: " " if m.lastgroup == "comment" else
            re.sub(r"/\*.*?\*/|//.*", " ", m.group(), flags=re.S)
            if m.lastgroup == "directive" else m.group(), source)
    return re.sub(r"(?m)^\s*#.*|\s# .*", " ", source)


class Known:
    """The names that exist: ours, and those of the unpacked stock source."""

    def __init__(self):
        self.paths = comments.files(pictures=True) + ["COPYING"]
        self.files = GENERATED | {os.path.basename(p) for p in self.paths}
        self.folders = {os.path.dirname(p) for p in self.paths}
        self.words, self.c_words, self.calls = set(), set(), set()
        self.parameters, self.attributes, self.texts = set(), set(), {}
        for path in self.paths:
            if path.endswith((".md", ".svg")) or path.startswith("docs/"):
                continue
            self.texts[path] = code = stripped(path, comments.read(path))
            self.words.update(re.findall(r"\w+", code))
            if path.endswith((".c", ".h", ".cocci")):
                self.learn(code)
            if path.startswith(HOST):
                self.parameters.update(re.findall(r"\bmodule_param(?:_cb)?\((\w+)", code))
                self.attributes.update(map("".join, re.findall(ATTRIBUTES, code)))
        self.targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", self.texts["Makefile"]))
        self.tests = {n[:-3] for n in self.files if re.match(r"t-.*\.sh$", n)}
        build = os.environ.get("BUILD") or "build"
        self.stock = sorted(glob.glob(os.path.join(build, "*", "stock")))
        for top in self.stock:
            self.learn_stock(top)
        self.words |= self.c_words

    def learn(self, code):
        """The words of a piece of C, and the functions among them."""
        self.c_words.update(re.findall(r"\w+", code))
        self.calls.update(re.findall(r"(\w+)\s*\(", code))

    def learn_stock(self, top):
        """The names of the stock source."""
        for place, _, names in os.walk(top):
            for name in names:
                path = os.path.join(place, name)
                self.files.add(name)
                self.paths.append(os.path.relpath(path, top))
                self.folders.add(os.path.relpath(place, top))
                if name.endswith((".c", ".h")):
                    code = comments.read(path)
                    self.learn(code)
                    self.parameters.update(re.findall(r"\bmodule_param\w*\((\w+)", code))

    def has_path(self, path):
        """Whether a path, or a pattern of paths, is there."""
        path = path.rstrip("/")
        for full in (path, f"{HOST}/{path}"):
            if full in self.paths or full in self.folders or fnmatch.filter(self.paths, full):
                return True
        return any(folder.startswith(path + "/") for folder in self.folders)


def among(name, names):
    """Whether a name is one of names; with a star or a bare underscore, the start of one."""
    start = name.rstrip("*")
    if start != name or name.endswith("_"):
        return any(other.startswith(start) for other in names)
    return name in names


def make_words(text):
    """The targets and variables of a call of make."""
    text = re.sub(r'"[^"]*"', "", text)
    call = re.match(r"\s*(?:[$#] )?(?:sudo )?((?:[A-Z_]+=\S* )*)make\b"
                    r"((?:\s+[^\s#|;&>()]+)*)", text)
    if not call:
        return []
    words = re.sub(r"\s-[CfjIo] ?\S+|\s-\S+", " ", call.group(2)).split()
    return [w for w in call.group(1).split() + words if re.match(r"[a-z-]+$|[A-Z_]+=", w)]


class Names:
    """The complaints about one line of text."""

    def __init__(self, known):
        self.known = known

    def prose(self, text):
        """(kind, name) that does not exist, in a comment or a document."""
        known = self.known
        for path in PATH.findall(text):
            if re.search(r"[/-][A-Z]+\b", path) or path.startswith("pmap/") and \
                    among(path[5:], known.attributes):
                continue
            if not known.has_path(path) and (known.stock or re.match(r"[std]", path)):
                yield "file", path
        for name in FILE.findall(text):
            if not re.match(r"[A-Z]+\.", name) and not fnmatch.filter(known.files, name) and \
                    known.stock:
                yield "file", name
        for name in CALL.findall(text):
            if name not in known.calls and (known.stock or "pmap_" in name):
                yield "function", name
        for name in WORD.findall(text):
            if not among(name, known.words):
                yield "name", name
        for page in map(".".join, PAGE.findall(text)):
            if page not in known.files:
                yield "manual page", page
        for name in STRUCT.findall(text):
            if name not in known.c_words and (known.stock or "pmap" in name):
                yield "struct", name
        for name in TEST.findall(text):
            if name not in known.tests:
                yield "test", name
        for name in SNAKE.findall(text) if known.stock else ():
            if not among(name, known.words) and not OUTSIDE.fullmatch(name):
                yield "name", name

    def command(self, text):
        """The same in a command, or in a name between backticks."""
        yield from self.prose(text)
        known = self.known
        for word in make_words(text):
            name, variable, _ = word.partition("=")
            if variable and not among(name, known.words):
                yield "make variable", name
            elif not variable and name not in known.targets:
                yield "make target", name
        for script, rest in re.findall(r"((?:scripts|tests)/[\w-]+)((?: [^|;&#]*)?)", text):
            for option in re.findall(r"(?<=\s)--[a-z][\w-]*", rest.split(" -- ")[0]):
                if script in known.texts and option not in known.texts[script]:
                    yield f"option of {script}", option
        for name in PARAMETER.findall(text):
            if known.stock and name not in known.parameters:
                yield "module parameter", name
        for name in ATTRIBUTE.findall(text):
            if not among(name, known.attributes | {n.split(".")[0] for n in known.files}):
                yield "sysfs attribute", name


def paragraphs(lines):
    """Runs of prose lines as one text: (text, [(offset, line)])."""
    text, starts = "", []
    for line, part, command in [*lines, (0, "", False)]:
        if command or not part.strip():
            if starts:
                yield text, starts
            text, starts = "", []
        else:
            starts.append((len(text), line))
            text += part + "\n"


def document(path, lines, names):
    """(line, kind, name) of the names that do not exist."""
    for line, text, command in lines:
        for target in LINK.findall(text):
            if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                yield line, "file", target
        for found in (names.command if command else names.prose)(text):
            yield (line, *found)
    for text, starts in paragraphs(lines):
        for match in re.finditer(r"`([^`]+)`", text):
            line = max(line for offset, line in starts if offset <= match.start())
            for found in names.command(match.group(1).replace("\n", " ")):
                yield (line, *found)


def complaints(path, names):
    """(line, kind, name) of a file; of several kinds for one name, the first."""
    source = comments.read(path)
    language = comments.kind(path, source)
    if language in ("markdown", "manual"):
        found = document(path, list(getattr(comments, language)(source)), names)
    else:
        found = [(line, *one) for line, text in comments.text_of(path, source)
                 for part in [text, *re.findall(r"`(make [^`]+)`", text)]
                 for one in (names.prose if part is text else names.command)(part)]
    kinds = {}
    for line, kind, name in found:
        kinds.setdefault((line, name), kind)
    return sorted((line, kind, name) for (line, name), kind in kinds.items())


def main():
    """Complain, and the exit status."""
    names, bad = Names(Known()), False
    if not names.known.stock:
        print("names: the stock source is not unpacked (make modules): only names of ours")
    for path in comments.files():
        if path in EXEMPT:
            continue
        for line, kind, name in complaints(path, names):
            print(f"{path}:{line}: there is no {kind} {name}")
            bad = True
    return bad


if __name__ == "__main__":
    sys.exit(main())
