"""What the scripts of attention share: patterns and lengths as `evoke profile attention` writes them, and pairs counted."""

import numpy


def near_root(length: int) -> int:
    """The power of two nearest the root."""
    below = 1 << ((length.bit_length() - 1) // 2)
    return 2 * below if 4 * length > 9 * below * below else below


def visible(pattern: str, length: int):
    """Whether query i sees key j, as a function of arrays of both, whatever library they are of; None where the pattern has no
    such form here."""
    words = pattern.split(":")
    number = lambda word: near_root(length) if word == "sqrt" else int(word)
    sides = lambda word: [length if side == "all" else int(side) for side in (word + ",0").split(",")[:2]]
    if words[0] == "full":
        return lambda i, j: (i >= 0) & (j >= 0)
    if words[0] == "causal":
        return lambda i, j: j <= i
    if words[0] in ("band", "dilated"):
        (left, right), step = sides(words[1]), number(words[2]) if len(words) > 2 else 1
        return lambda i, j: ((i - j) % step == 0) & (i - j <= left * step) & (j - i <= right * step)
    if words[0] == "strided":
        stride = number(words[1])
        return lambda i, j: (j <= i) & ((i - j <= stride) | ((i - j) % stride == 0))
    if words[0] == "strided-column":
        stride = number(words[1])
        return lambda i, j: (j <= i) & ((i - j) % stride == 0)
    if words[0] in ("fixed", "fixed-local", "fixed-summary"):
        block = number(words[1])
        local = lambda i, j: i // block == j // block
        if words[0] == "fixed-local":
            return lambda i, j: (j <= i) & local(i, j)
        count = number(words[2])
        first = number(words[3]) if len(words) > 3 else block - count
        summary = lambda i, j: (j % block >= first) & (j % block < first + count)
        if words[0] == "fixed-summary":
            return lambda i, j: (j <= i) & summary(i, j)
        return lambda i, j: (j <= i) & (local(i, j) | summary(i, j))
    return None


def pairs(seen, length: int) -> int:
    """Visible pairs of one head, counted a block of queries at a time."""
    j = numpy.arange(length)
    blocks = (numpy.arange(first, min(first + 1024, length)) for first in range(0, length, 1024))
    return sum(int(seen(block[:, None], j[None, :]).sum()) for block in blocks)


def lengths(text: str) -> list[int]:
    unit = {"k": 1 << 10, "m": 1 << 20}
    one = lambda word: int(word[:-1]) * unit[word[-1]] if word[-1] in unit else int(word)
    found = set()
    for word in text.split(","):
        first, _, last = word.partition("..")
        n = one(first)
        while n <= one(last or first):
            found.add(n)
            n *= 2
    return sorted(found)


def patterns(text: str) -> list[str]:
    """Split at commas, but for those inside `band:3,1`."""
    found: list[str] = []
    for word in text.split(","):
        if found and (word.split(":")[0] == "all" or word.split(":")[0].isdigit()):
            found[-1] += "," + word
        else:
            found.append(word.strip())
    return found
