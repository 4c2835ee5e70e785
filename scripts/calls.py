"""Prove that the files of the driver call each other downward only.

The table under the heading "## Rooms" of docs/architecture.md lists the files, lowest
layer first, in rows "| `ctrl.c` | purpose |".  A file may use functions and tables of the
files above it in the table, which are lower layers.  An error is also: a file that the
table lacks or has twice, a circle of files, and a function that two files define, since
a reader takes near-twins for one.

An inline function or macro of a header counts as a use of all that it uses.  Files that
another one includes form one translation unit with each other; a static function is known
in its own unit and nowhere else.  Exits 1 and names caller, callee and both files.
"""
import collections
import os
import re
import sys

sys.dont_write_bytecode = True
import csource  # noqa: E402 (beside this script)

FOLDER = "drivers/nvme/host/pmap"
TABLE = "docs/architecture.md"
# These include others and define nothing.
INCLUDERS = ("passthru.c", "guest-pci.c")
INCLUDE = re.compile(r'^#include "([\w-]+\.c)"', re.M)


class Use:
    """A function or table of one file, used in another."""

    def __init__(self, caller, file, callee, defined_in):
        self.caller, self.file = caller, file
        self.callee, self.defined_in = callee, defined_in

    def __str__(self):
        return f"{self.caller} in {self.file} uses {self.callee} of {self.defined_in}"


def rooms(path):
    """The names of files in the table, in its order."""
    with open(path) as file:
        section = re.split(r"^## ", file.read(), flags=re.M)
    section = [part for part in section if re.match(r"Rooms\s*\n", part)]
    if len(section) != 1:
        sys.exit(f'calls: {path} has {len(section)} headings "## Rooms", not one')
    return re.findall(r"^\|\s*`([\w-]+\.c)`\s*\|", section[0], re.M)


class Driver:
    """The files of the driver, their definitions, and the uses between files."""

    def __init__(self, folder):
        self.text, self.unit = {}, {}
        for name in sorted(os.listdir(folder)):
            if name.endswith((".c", ".h")):
                with open(os.path.join(folder, name)) as file:
                    self.text[name] = file.read()
        for name in INCLUDERS:
            for part in INCLUDE.findall(self.text.pop(name, "")):
                self.unit[part] = name
        self.definitions = {name: [d for d in csource.definitions(text)
                                   if d.kind in ("function", "initialiser")]
                            for name, text in self.text.items()}
        self.inline = {d.name: set(re.findall(r"\w+", d.squeezed)) - {d.name}
                       for name, text in self.text.items() if name.endswith(".h")
                       for d in csource.definitions(text) if d.kind in ("function", "define")}

    def sources(self):
        """The .c files that define something."""
        return [name for name in self.text if name.endswith(".c")]

    def twins(self):
        """(function, files): functions that more than one file defines."""
        places = collections.defaultdict(set)
        for name, found in self.definitions.items():
            for one in found:
                if one.kind == "function":
                    places[one.name].add(name)
        return sorted((f, sorted(where)) for f, where in places.items() if len(where) > 1)

    def visible(self, definition, home, file):
        """Whether code in file can name a definition of home."""
        if "static" not in definition.words[:definition.words.index("{")]:
            return True
        return home in self.unit and self.unit[home] == self.unit.get(file)

    def behind(self, word, seen=()):
        """The names that a name of a header stands for: its inline function or macro."""
        if word in seen or word not in self.inline:
            return {word}
        names = {word}
        for inner in self.inline[word]:
            names |= self.behind(inner, (*seen, word))
        return names

    def uses(self):
        """Every use of a definition of another .c file, once for each caller."""
        where = collections.defaultdict(list)
        for name in self.sources():
            for one in self.definitions[name]:
                where[one.name].append((name, one))
        for file in self.sources():
            seen = set()
            for caller, written in self.words(file):
                for word in self.behind(written):
                    for home, one in where.get(word, ()):
                        if home != file and (caller, word) not in seen and \
                                self.visible(one, home, file):
                            seen.add((caller, word))
                            yield Use(caller, file, word, home)

    def words(self, file):
        """(definition, name): every name in a file that is no member of a struct."""
        bodies = iter(self.definitions[file] + [None])
        body, last = next(bodies), ""
        for kind, text, start, _ in csource.tokens(self.text[file]):
            while body and start >= body.end:
                body = next(bodies)
            caller = body.name if body and start >= body.start else "a declaration"
            if kind == "directive":
                yield from ((caller, word) for word in re.findall(r"\w+", text))
            elif kind == "name" and last[-1:] != "." and last != "->":
                yield caller, text
            last = (last + text)[-2:]


def circles(uses):
    """Groups of files that use each other in a circle, by Tarjan's algorithm."""
    index, low, stack, found = {}, {}, [], []

    def visit(file):
        index[file] = low[file] = len(index)
        stack.append(file)
        for other in uses[file]:
            if other not in index:
                visit(other)
            if other in stack:
                low[file] = min(low[file], low[other])
        if low[file] == index[file]:
            at = stack.index(file)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for file in sorted(uses):
        if file not in index:
            visit(file)
    return found


def listing(driver, order):
    """Complaints about files that the table lacks, has twice, or invents."""
    sources = driver.sources()
    for name in sources:
        if order.count(name) != 1:
            yield f"{TABLE}: \"## Rooms\" lists {name} {order.count(name)} times, not once"
    for name in order:
        if name not in sources and name not in INCLUDERS:
            yield f"{TABLE}: \"## Rooms\" lists {name}, which {FOLDER} does not have"


def complaints(driver, order):
    """All complaints, a line each."""
    yield from listing(driver, order)
    uses, graph = list(driver.uses()), collections.defaultdict(dict)
    for use in uses:
        graph[use.file].setdefault(use.defined_in, use)
        graph.setdefault(use.defined_in, {})
        if use.file in order and use.defined_in in order and \
                order.index(use.defined_in) > order.index(use.file):
            yield f"{FOLDER}/{use.file}: {use}, a higher layer"
    for circle in circles(graph):
        yield f"{FOLDER}: a circle: {', '.join(circle)}"
        for file in circle:
            yield from (f"    {use}" for other, use in graph[file].items() if other in circle)
    for function, where in driver.twins():
        yield f"{FOLDER}: {function}() is defined in {' and '.join(where)}"


def main():
    """Complain, and the exit status."""
    if not os.path.exists(TABLE):
        sys.exit(f"calls: there is no {TABLE}")
    said = list(complaints(Driver(FOLDER), rooms(TABLE)))
    for line in said:
        print(line)
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
