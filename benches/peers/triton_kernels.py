"""The kernels of attention_triton.py: fused attention in Triton, after the form of Triton's own tutorial. Forward:
one program for a block of queries of one head, an online softmax over blocks of keys. Backward: each row's sum of out
times dout, then one program for a block of keys (their gradient and the values'), then one for a block of queries; no
score is stored.

Who sees whom is a window: query i sees the keys i - left .. i + right, so full and causal are windows as well as
bands. LEFT and RIGHT say which side ends anywhere. Of the blocks that a program visits, those that all of its rows
see whole are not masked. The loops read through pointers, or (TMA) through descriptors of all rows, by which Hopper
copies.

Queries, keys, values, the output and all gradients lie alike, (batch, heads, length, HEAD) with strides; in a row the
channels lie side by side. Scores are in units of log 2, products accumulate in f32, probabilities are rounded to the
storage type before their product. Nothing is added to from two programs, so the same choice of blocks gives the same
bits."""

import triton
import triton.language as tl


@triton.jit
def _span(first, before, after, length, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Where the blocks begin that some of ROWS rows from `first` see, where those that all rows see whole, where these
    end, and where all end; a row sees `before` on one side of it and `after` on the other."""
    last = tl.minimum(first + ROWS, length) - 1
    begin = tl.maximum(first - before, 0) // BLOCK * BLOCK
    end = tl.minimum(last + after + 1, length)
    whole = tl.cdiv(tl.minimum(tl.maximum(last - before, 0), end), BLOCK) * BLOCK
    partly = tl.maximum(whole, tl.minimum(first + after + 1, length) // BLOCK * BLOCK)
    return begin, whole, partly, end


@triton.jit
def _rows(base, first, stride, length, ROWS: tl.constexpr, HEAD: tl.constexpr, ENDS: tl.constexpr):
    """(ROWS, HEAD) from row `first`; where ENDS, zeros beyond the sequence."""
    row = tl.arange(0, ROWS)
    at = base + tl.cast(first, tl.int64) * stride + row[:, None] * stride + tl.arange(0, HEAD)[None, :]
    if ENDS:
        return tl.load(at, mask=(first + row < length)[:, None], other=0.0)
    else:
        return tl.load(at)


@triton.jit
def _block(source, row, column, first, stride, length, ROWS: tl.constexpr, HEAD: tl.constexpr, ENDS: tl.constexpr,
           TMA: tl.constexpr):
    """As _rows, of a pointer to the head's first row; or of a descriptor of all rows, in which the head begins at row
    and column. The descriptor gives the next sequence's rows beyond the end, whose weight is 0."""
    if TMA:
        return source.load([row + first, column])
    else:
        return _rows(source, first, stride, length, ROWS, HEAD, ENDS)


@triton.jit
def _store(base, value, first, stride, length, ROWS: tl.constexpr, HEAD: tl.constexpr):
    row = tl.arange(0, ROWS)
    at = base + tl.cast(first, tl.int64) * stride + row[:, None] * stride + tl.arange(0, HEAD)[None, :]
    tl.store(at, value.to(base.dtype.element_ty), mask=(first + row < length)[:, None])


@triton.jit
def _seen(query, key, left, right, length, LEFT: tl.constexpr, RIGHT: tl.constexpr):
    seen = key < length
    if LEFT:
        seen = seen & (query - key <= left)
    if RIGHT:
        seen = seen & (key - query <= right)
    return seen


@triton.jit
def _head(heads, stride_batch, stride_head, length, HEAD: tl.constexpr):
    """Where this program's head begins: behind a pointer, as a row and a column of (batch x length, heads x HEAD), and
    as the first of its rows among all."""
    head = tl.program_id(1)
    base = (head // heads).to(tl.int64) * stride_batch + (head % heads).to(tl.int64) * stride_head
    return base, head // heads * length, head % heads * HEAD, head.to(tl.int64) * length


@triton.jit
def _attend(acc, top, total, q, K, V, row, column, begin, end, query, stride, scale, left, right, length,
            BLOCK_N: tl.constexpr, HEAD: tl.constexpr, MASK: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr,
            TMA: tl.constexpr):
    for start in range(begin, end, BLOCK_N):
        k = _block(K, row, column, start, stride, length, BLOCK_N, HEAD, MASK, TMA)
        s = tl.dot(q, tl.trans(k))
        if MASK:
            key = start + tl.arange(0, BLOCK_N)
            s = tl.where(_seen(query[:, None], key[None, :], left, right, length, LEFT, RIGHT), s, float("-inf"))
        higher = tl.maximum(top, tl.max(s, 1) * scale)
        shift = higher
        if MASK:
            # A row that has seen no key yet; -inf less -inf is no number.
            shift = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp2(s * scale - shift[:, None])
        fade = tl.exp2(top - shift)
        total = total * fade + tl.sum(p, 1)
        v = _block(V, row, column, start, stride, length, BLOCK_N, HEAD, MASK, TMA)
        acc = tl.dot(p.to(v.dtype), v, acc * fade[:, None])
        top = higher
    return acc, top, total


@triton.jit
def forward(Q, K, V, OUT, LSE, stride_batch, stride_head, stride, heads, length, left, right, scale,
            HEAD: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, EVEN: tl.constexpr, TMA: tl.constexpr,
            BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The output of a block of queries, and the log2 of the sum of their exponentials. K, V: descriptors where TMA."""
    block = tl.program_id(0)
    if RIGHT and not LEFT:
        block = tl.num_programs(0) - 1 - block  # the longest rows first, so that none is left over at the end
    first = block * BLOCK_M
    base, row, column, behind = _head(heads, stride_batch, stride_head, length, HEAD)
    if not TMA:
        K += base
        V += base
    query = first + tl.arange(0, BLOCK_M)
    q = _rows(Q + base, first, stride, length, BLOCK_M, HEAD, True)
    acc = tl.zeros([BLOCK_M, HEAD], tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    begin, whole, partly, end = _span(first, left, right, length, BLOCK_M, BLOCK_N)
    if LEFT:
        acc, top, total = _attend(acc, top, total, q, K, V, row, column, begin, whole, query, stride, scale, left,
                                  right, length, BLOCK_N, HEAD, True, LEFT, RIGHT, TMA)
    acc, top, total = _attend(acc, top, total, q, K, V, row, column, whole, partly, query, stride, scale, left, right,
                              length, BLOCK_N, HEAD, False, LEFT, RIGHT, TMA)
    if RIGHT or not EVEN:
        acc, top, total = _attend(acc, top, total, q, K, V, row, column, partly, end, query, stride, scale, left,
                                  right, length, BLOCK_N, HEAD, True, LEFT, RIGHT, TMA)
    total = tl.where(total == 0.0, 1.0, total)  # of a row beyond the end, which may have seen nothing
    _store(OUT + base, acc / total[:, None], first, stride, length, BLOCK_M, HEAD)
    tl.store(LSE + behind + query, top + tl.log2(total), mask=query < length)


@triton.jit
def delta(OUT, DOUT, DELTA, stride_batch, stride_head, stride, heads, length,
          HEAD: tl.constexpr, BLOCK_M: tl.constexpr):
    """The sum of out * dout of each row."""
    first = tl.program_id(0) * BLOCK_M
    base, _, _, behind = _head(heads, stride_batch, stride_head, length, HEAD)
    out = _rows(OUT + base, first, stride, length, BLOCK_M, HEAD, True).to(tl.float32)
    dout = _rows(DOUT + base, first, stride, length, BLOCK_M, HEAD, True).to(tl.float32)
    query = first + tl.arange(0, BLOCK_M)
    tl.store(DELTA + behind + query, tl.sum(out * dout, 1), mask=query < length)


@triton.jit
def _gather(dk, dv, k, v, Q, DOUT, LSE, DELTA, row, column, begin, end, key, stride, scale, left, right, length,
            BLOCK_M: tl.constexpr, HEAD: tl.constexpr, MASK: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr,
            TMA: tl.constexpr):
    for start in range(begin, end, BLOCK_M):
        q = _block(Q, row, column, start, stride, length, BLOCK_M, HEAD, MASK, TMA)
        query = start + tl.arange(0, BLOCK_M)
        if MASK:
            # A query beyond the end weighs nothing.
            lse = tl.load(LSE + query, mask=query < length, other=float("inf"))
            sums = tl.load(DELTA + query, mask=query < length, other=0.0)
        else:
            lse = tl.load(LSE + query)
            sums = tl.load(DELTA + query)
        p = tl.exp2(tl.dot(k, tl.trans(q)) * scale - lse[None, :])
        if MASK:
            p = tl.where(_seen(query[None, :], key[:, None], left, right, length, LEFT, RIGHT), p, 0.0)
        dout = _block(DOUT, row, column, start, stride, length, BLOCK_M, HEAD, MASK, TMA)
        dv = tl.dot(p.to(q.dtype), dout, dv)
        ds = p * (tl.dot(v, tl.trans(dout)) - sums[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk)
    return dk, dv


@triton.jit
def keys(Q, K, V, DOUT, LSE, DELTA, DK, DV, stride_batch, stride_head, stride, heads, length, left, right, scale, root,
         HEAD: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, EVEN: tl.constexpr, TMA: tl.constexpr,
         BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The gradients of a block of keys and values. The scale of the scores without log2(e) is `root`. Q, DOUT:
    descriptors where TMA."""
    first = tl.program_id(0) * BLOCK_N
    base, row, column, behind = _head(heads, stride_batch, stride_head, length, HEAD)
    if not TMA:
        Q += base
        DOUT += base
    LSE += behind
    DELTA += behind
    key = first + tl.arange(0, BLOCK_N)
    k = _rows(K + base, first, stride, length, BLOCK_N, HEAD, True)
    v = _rows(V + base, first, stride, length, BLOCK_N, HEAD, True)
    dk = tl.zeros([BLOCK_N, HEAD], tl.float32)
    dv = tl.zeros([BLOCK_N, HEAD], tl.float32)
    # A key is seen by the queries from `right` before it to `left` after it.
    begin, whole, partly, end = _span(first, right, left, length, BLOCK_N, BLOCK_M)
    if RIGHT:
        dk, dv = _gather(dk, dv, k, v, Q, DOUT, LSE, DELTA, row, column, begin, whole, key, stride, scale, left, right,
                         length, BLOCK_M, HEAD, True, LEFT, RIGHT, TMA)
    dk, dv = _gather(dk, dv, k, v, Q, DOUT, LSE, DELTA, row, column, whole, partly, key, stride, scale, left, right,
                     length, BLOCK_M, HEAD, False, LEFT, RIGHT, TMA)
    if LEFT or not EVEN:
        dk, dv = _gather(dk, dv, k, v, Q, DOUT, LSE, DELTA, row, column, partly, end, key, stride, scale, left, right,
                         length, BLOCK_M, HEAD, True, LEFT, RIGHT, TMA)
    _store(DK + base, dk * root, first, stride, length, BLOCK_N, HEAD)
    _store(DV + base, dv, first, stride, length, BLOCK_N, HEAD)


@triton.jit
def _spread(dq, q, dout, lse, sums, K, V, row, column, begin, end, query, stride, scale, left, right, length,
            BLOCK_N: tl.constexpr, HEAD: tl.constexpr, MASK: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr,
            TMA: tl.constexpr):
    for start in range(begin, end, BLOCK_N):
        k = _block(K, row, column, start, stride, length, BLOCK_N, HEAD, MASK, TMA)
        p = tl.exp2(tl.dot(q, tl.trans(k)) * scale - lse[:, None])
        if MASK:
            key = start + tl.arange(0, BLOCK_N)
            p = tl.where(_seen(query[:, None], key[None, :], left, right, length, LEFT, RIGHT), p, 0.0)
        v = _block(V, row, column, start, stride, length, BLOCK_N, HEAD, MASK, TMA)
        ds = p * (tl.dot(dout, tl.trans(v)) - sums[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq)
    return dq


@triton.jit
def queries(Q, K, V, DOUT, LSE, DELTA, DQ, stride_batch, stride_head, stride, heads, length, left, right, scale, root,
            HEAD: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, EVEN: tl.constexpr, TMA: tl.constexpr,
            BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The gradient of a block of queries. K, V: descriptors where TMA."""
    block = tl.program_id(0)
    if RIGHT and not LEFT:
        block = tl.num_programs(0) - 1 - block
    first = block * BLOCK_M
    base, row, column, behind = _head(heads, stride_batch, stride_head, length, HEAD)
    if not TMA:
        K += base
        V += base
    query = first + tl.arange(0, BLOCK_M)
    q = _rows(Q + base, first, stride, length, BLOCK_M, HEAD, True)
    dout = _rows(DOUT + base, first, stride, length, BLOCK_M, HEAD, True)
    lse = tl.load(LSE + behind + query, mask=query < length, other=float("inf"))
    sums = tl.load(DELTA + behind + query, mask=query < length, other=0.0)
    dq = tl.zeros([BLOCK_M, HEAD], tl.float32)
    begin, whole, partly, end = _span(first, left, right, length, BLOCK_M, BLOCK_N)
    if LEFT:
        dq = _spread(dq, q, dout, lse, sums, K, V, row, column, begin, whole, query, stride, scale, left, right, length,
                     BLOCK_N, HEAD, True, LEFT, RIGHT, TMA)
    dq = _spread(dq, q, dout, lse, sums, K, V, row, column, whole, partly, query, stride, scale, left, right, length,
                 BLOCK_N, HEAD, False, LEFT, RIGHT, TMA)
    if RIGHT or not EVEN:
        dq = _spread(dq, q, dout, lse, sums, K, V, row, column, partly, end, query, stride, scale, left, right, length,
                     BLOCK_N, HEAD, True, LEFT, RIGHT, TMA)
    _store(DQ + base, dq * root, first, stride, length, BLOCK_M, HEAD)
