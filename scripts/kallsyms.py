"""Name kernel addresses by the /proc/kallsyms of the guest that they come from."""
import bisect

CODE, DATA = "tTwW", "dDbBrR"


class Symbols:
    """Symbols of the kinds that are asked for, by address."""

    def __init__(self, text, kinds=CODE):
        found = []
        for line in text.splitlines():
            addr, kind, name = line.split()[:3]
            if kind in kinds and int(addr, 16):
                found.append((int(addr, 16), name))
        found.sort()
        self.addrs = [addr for addr, _ in found]
        self.names = [name for _, name in found]

    def name(self, addr):
        at = bisect.bisect_right(self.addrs, addr) - 1
        return self.names[at] if at >= 0 else hex(addr)
