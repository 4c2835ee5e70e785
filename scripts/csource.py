"""Find definitions in kernel C source, without a compiler.

Text is compared with comments and white space gone: they are the formatter's, and
may change from one point release to the next without a change of meaning.
"""
import re

# A comment; a string or a character, which may look like one; a line of the
# preprocessor, whose end means something; white space.
TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//(?:\\\n|[^\n])*)
      | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<directive>^[ \t]*\#(?:\\\n|/\*.*?\*/|//[^\n]*|[^\n])*)
      | (?P<name>\w+)
      | (?P<space>\s+)
      | (?P<other>.)""", re.X | re.S | re.M)
OPEN = {"(": ")", "{": "}", "[": "]"}


class SourceError(Exception):
    """A definition is missing, or there is more than one."""


def tokens(source):
    """Everything but comments and white space, each with its place in the text."""
    for match in TOKEN.finditer(source):
        kind = match.lastgroup
        if kind == "directive":
            inner = match.group().lstrip()[1:].replace("\\\n", " ")
            words = [t for _, t, _, _ in tokens(inner)]
            yield kind, "#" + join(words) + "\n", match.start(), match.end()
        elif kind not in ("comment", "space"):
            yield kind, match.group(), match.start(), match.end()


def join(words):
    """Tokens as one line, with a blank only where two would become one."""
    parts, last = [], ""
    for word in words:
        if re.match(r"\w", word) and re.match(r"\w", last):
            parts.append(" ")
        parts.append(word)
        last = word[-1:]
    return "".join(parts)


def squeeze(text):
    """A piece of C in normal form: no comments, no white space that is free."""
    return join(t for _, t, _, _ in tokens(text))


class Definition:
    """A thing that is defined at the top level of a file."""

    def __init__(self, kind, name, words, start, end):
        self.kind, self.name, self.words = kind, name, words
        self.start, self.end = start, end

    @property
    def squeezed(self):
        return join(self.words)

    @property
    def body(self):
        """From the brace that opens it on."""
        return join(self.words[self.words.index("{"):])

    def text(self, source):
        return source[self.start:self.end]


def classify(words):
    """(kind, name) of the thing that a declaration with a body defines, or None."""
    head = words[:words.index("{")]
    if "=" in head:
        names = [w for w in head[:head.index("=")] if re.match(r"\w", w)]
        return ("initialiser", names[-1]) if names else None
    if len(head) > 1 and head[0] in ("struct", "union", "enum") and "(" not in head:
        return head[0], head[1]
    for at, word in enumerate(head[1:], 1):
        # not the parentheses of __attribute__((...)) and the like, before the name
        if word == "(" and re.match(r"[a-z]\w*$|_\w*[a-z]\w*$", head[at - 1]) and \
                head[at - 1] != "__attribute__" and \
                (at < 2 or head[at - 2] != "."):
            return "function", head[at - 1]
    return None


def definitions(source):
    """Every function, initialiser, struct, union, enum and macro, in order."""
    found, words, stack, begin = [], [], [], None
    for kind, text, start, end in tokens(source):
        if kind == "directive":
            name = re.match(r"#define (\w+)", text)
            if name:
                found.append(Definition("define", name.group(1), [text], start, end))
            # within a body it is part of that; between declarations it ends none
            if stack:
                words.append(text)
            continue
        if begin is None:
            begin = start
        words.append(text)
        if text in OPEN:
            stack.append(OPEN[text])
        elif stack and text == stack[-1]:
            stack.pop()
        elif text in ")}]":
            raise SourceError(f"unbalanced {text} at offset {start}")
        if stack or text not in (";", "}"):
            continue
        if text == "}" and classify(words) and classify(words)[0] != "function":
            # attributes, a name and the semicolon still belong to it
            continue
        if "{" in words and classify(words):
            found.append(Definition(*classify(words), words, begin, end))
        words, begin = [], None
    if stack:
        raise SourceError("the file ends inside a definition")
    return found


def find(source, kind, name):
    """All definitions of that kind and name: in #if and #else there may be two."""
    return [d for d in definitions(source) if (d.kind, d.name) == (kind, name)]


def find_one(source, kind, name):
    """The only one, or SourceError."""
    found = find(source, kind, name)
    if len(found) != 1:
        raise SourceError(f"{kind} {name} is defined {len(found)} times, not once")
    return found[0]
