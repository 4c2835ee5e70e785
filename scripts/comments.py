"""Find the comments of a file, and the text of a document, with their lines.

text_of(path) tells (line, text) for every line of prose in a file: C comments, comments
that a # begins, docstrings, the text of Markdown and of manual pages, and the reasons of
hooks/pins.  Code is left out, and with it the blocks of commands in Markdown.
"""
import ast
import io
import os
import re
import sys
import tokenize

sys.dont_write_bytecode = True
import csource  # noqa: E402 (beside this script)

# Not ours, or not text.
FOREIGN = {"COPYING"}
# Lines of a semantic patch that prove-hooks reads.
PROOF = re.compile(r"//\s*(proof|order|users):")
PIN = re.compile(r"\S+\.[ch]\s+\S+\s+\S+\s+[0-9a-f]{16}\s+")


def files(top=".", pictures=False):
    """Every file of ours, sorted, relative to the top."""
    found = []
    for place, folders, names in os.walk(top):
        folders[:] = [f for f in folders
                      if f not in (".git", "__pycache__") and
                      os.path.relpath(os.path.join(place, f), top) != "build"]
        found += [os.path.relpath(os.path.join(place, n), top) for n in names]
    return sorted(f for f in found if f not in FOREIGN and (pictures or not f.endswith(".svg")))


def read(path):
    """The text of a file; bytes that are not UTF-8 become question marks."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def kind(path, source):
    """The language of a file: c, cocci, python, hash, markdown, manual or pins."""
    name = os.path.basename(path)
    if name.endswith((".c", ".h")):
        return "c"
    if name == "pins":
        return "pins"
    if "/man/" in path and re.search(r"\.\d$", name):
        return "manual"
    for end, what in ((".cocci", "cocci"), (".md", "markdown"), (".py", "python")):
        if name.endswith(end):
            return what
    return "python" if re.match(r"#!.*python", source) else "hash"


def c_comments(source, first=1):
    """The comments of C, a line each, without the stars before them."""
    for match in csource.TOKEN.finditer(source):
        line = first + source.count("\n", 0, match.start())
        text = match.group()
        if match.lastgroup == "comment":
            text = re.sub(r"^/\*+|\*/$|^//", "", text)
            for at, part in enumerate(text.split("\n")):
                yield line + at, re.sub(r"^\s*(\*|//)?\s?", "", part)
        elif match.lastgroup == "directive" and re.search(r"/[*/]", text):
            # the # would make it a directive again
            yield from c_comments(text.replace("#", " ", 1), line)


def cocci_comments(source):
    """The comments of a semantic patch but for those that a script reads."""
    for line, text in enumerate(source.split("\n"), 1):
        if text.startswith("//") and not PROOF.match(text):
            yield line, text[2:]


def hash_comments(source):
    """Comments that a # begins: of shell, make, configurations."""
    for line, text in enumerate(source.split("\n"), 1):
        # with a blank behind it: the lines of C in a here-document have none
        match = re.match(r"\s*#+(\s.*|$)|.*?\s##? (.*)", text)
        if match:
            yield line, match.group(1) or match.group(2) or ""


def python_comments(source):
    """Comments and docstrings of Python."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            yield token.start[0], token.string.lstrip("#")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and \
                ast.get_docstring(node):
            literal = node.body[0].value
            for at, part in enumerate(literal.value.split("\n")):
                yield literal.lineno + at, part


def markdown(source):
    """(line, text, command): a line of a document, and whether it belongs to a command."""
    fenced = False
    blank = True
    indented = False
    for line, text in enumerate(source.split("\n"), 1):
        if re.match(r"\s*(```|~~~)", text):
            fenced = not fenced
            continue
        # an indented line is code after an empty one, or after code
        indented = text.startswith(("    ", "\t")) and (blank or indented)
        blank = not text.strip()
        yield line, text, fenced or indented


# Of a manual page: blocks of commands, literal text, and lines that are no prose.
EXAMPLE, NO_EXAMPLE = {"EX", "nf", "Bd", "Dl"}, {"EE", "fi", "Ed"}
LITERAL = {"B", "BR", "BI", "SB", "Ql", "Li", "Pa", "Ic"}
NO_PROSE = {"TH", "Dd", "Dt", "Os", "Nm"}


def manual(source):
    """The same of a manual page, man(7) or mdoc(7); its literal text gets backticks."""
    example = False
    for line, text in enumerate(source.split("\n"), 1):
        macro = re.match(r"[.']\s*([A-Za-z]+)\s*(.*)", text)
        name, text = macro.groups() if macro else ("", text)
        if name in NO_PROSE or re.match(r"[.']", text):
            continue
        example = name in EXAMPLE or example and name not in NO_EXAMPLE
        if name in ("Bd", "Bl"):
            continue
        # .Xr nvme 4, \fBnvme\fP(4): a page is no name of the code
        text = re.sub(r"(^|\bXr )([\w-]+) (\d)\b" if name == "Xr" else r"(\bXr )([\w-]+) (\d)\b",
                      r"\2(\3)", text)
        while name and re.match(r"[A-Z][a-z] \S", text):
            name, text = text.split(" ", 1)
        if name in LITERAL and text:
            text = re.sub(r'^("[^"]*"|\S+)', lambda m: f"`{m.group().strip(chr(34))}`", text)
        text = re.sub(r"\\fB(.*?)\\f[PR]", r"`\1`", text)
        text = re.sub(r"`([\w-]+)` ?(\(\d\))", r"\1\2", text)
        text = re.sub(r"\\f.|\\&", "", text).replace("\\-", "-").replace("\\e", "\\")
        yield line, text, example
        example = example and name != "Dl"


def pin_reasons(source):
    """The reasons of the pins, and the comment above them."""
    for line, text in enumerate(source.split("\n"), 1):
        if text.startswith("#"):
            yield line, text[1:]
        elif PIN.match(text):
            yield line, PIN.sub("", text)


def text_of(path, source=None):
    """(line, text) of every line of comment, or of a document."""
    source = read(path) if source is None else source
    what = kind(path, source)
    if what in ("markdown", "manual"):
        lines = (markdown if what == "markdown" else manual)(source)
        return [(line, text) for line, text, command in lines if not command]
    return list({"c": c_comments, "cocci": cocci_comments, "python": python_comments,
                 "pins": pin_reasons, "hash": hash_comments}[what](source))
