// The functions of cublasLt that Evoke calls: products by three loops, as the library documents them.
#include <cstring>

#include "fake.hpp"

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t leading;
};
struct Operation {
    int transposed[2] = {0, 0};
    unsigned epilogue = 1;
    int bias_type = -1;
    void *bias = nullptr;
};
struct Algorithm {
    uint64_t data[8];
};
struct Heuristic {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
constexpr int SUPPORTED = 0, REFUSED = 15;
constexpr int F32 = 0, BF16 = 14;
constexpr int TRANSA = 3, TRANSB = 4, EPILOGUE = 7, BIAS_POINTER = 8, BIAS_TYPE = 26;
constexpr unsigned BIAS = 4, RELU_BIAS = 6, BGRADB = 512;
constexpr int ALGORITHMS = 3;
// Milliseconds of a product: the second proposal is the fastest.
constexpr double TIMES[ALGORITHMS] = {3, 1, 2};

namespace {
float load(const void *start, int type, size_t i) {
    if (type == F32) return static_cast<const float *>(start)[i];
    uint32_t bits = uint32_t(static_cast<const uint16_t *>(start)[i]) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
void store(void *start, int type, size_t i, float value) {
    if (type == F32) {
        static_cast<float *>(start)[i] = value;
        return;
    }
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits += 0x7fff + (bits >> 16 & 1); // to nearest even; no test multiplies NaNs
    static_cast<uint16_t *>(start)[i] = uint16_t(bits >> 16);
}
std::string described(const Layout &l) {
    return std::to_string(l.rows) + " x " + std::to_string(l.columns) + " by " + std::to_string(l.leading);
}
bool fits(const Operation &op, const Layout &a, const Layout &b, const Layout &out) {
    auto rows = [](const Layout &l, bool turned) { return turned ? l.columns : l.rows; };
    auto columns = [](const Layout &l, bool turned) { return turned ? l.rows : l.columns; };
    const bool sizes = rows(a, op.transposed[0]) == out.rows && columns(b, op.transposed[1]) == out.columns &&
                       columns(a, op.transposed[0]) == rows(b, op.transposed[1]);
    const bool strides = a.leading >= int64_t(a.rows) && b.leading >= int64_t(b.rows) && out.leading >= int64_t(out.rows);
    // FAKE_CUDA_EPILOGUES=none: a library that has none for these shapes.
    const char *has = std::getenv("FAKE_CUDA_EPILOGUES");
    if (op.epilogue != 1 && has && std::strcmp(has, "none") == 0) return false;
    if ((op.epilogue == BIAS || op.epilogue == RELU_BIAS) && (!op.bias || op.bias_type != out.type)) return false;
    if (op.epilogue == BGRADB && (!op.bias || op.bias_type != F32)) return false;
    return sizes && strides && a.type == b.type && (a.type == F32 || a.type == BF16);
}
} // namespace

extern "C" {
int cublasLtCreate(void **handle) {
    *handle = handle;
    return 0;
}
size_t cublasLtGetVersion() { return 130000; }
int cublasLtMatrixLayoutCreate(Layout **made, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    *made = new Layout{type, rows, columns, leading};
    return 0;
}
int cublasLtMatrixLayoutDestroy(Layout *layout) {
    delete layout;
    return 0;
}
int cublasLtMatmulDescCreate(Operation **made, int compute, int) {
    *made = new Operation;
    return compute == 68 ? 0 : REFUSED;
}
int cublasLtMatmulDescSetAttribute(Operation *op, int which, const void *value, size_t bytes) {
    if (bytes != (which == BIAS_POINTER ? 8u : 4u)) return 7;
    if (which == EPILOGUE) std::memcpy(&op->epilogue, value, 4);
    else if (which == BIAS_TYPE) std::memcpy(&op->bias_type, value, 4);
    else if (which == BIAS_POINTER) std::memcpy(&op->bias, value, 8);
    else if (which != TRANSA && which != TRANSB) return 7;
    if (which != TRANSA && which != TRANSB) return 0;
    std::memcpy(&op->transposed[which - TRANSA], value, 4);
    return 0;
}
int cublasLtMatmulDescDestroy(Operation *op) {
    delete op;
    return 0;
}
int cublasLtMatmulPreferenceCreate(int **made) {
    *made = new int(0);
    return 0;
}
int cublasLtMatmulPreferenceSetAttribute(int *, int which, const void *, size_t bytes) {
    return bytes == (which == 1 ? 8u : 4u) ? 0 : 7;
}
int cublasLtMatmulPreferenceDestroy(int *preference) {
    delete preference;
    return 0;
}
int cublasLtMatmulAlgoGetHeuristic(void *, Operation *op, Layout *a, Layout *b, Layout *, Layout *out, int *, int most,
                                   Heuristic *found, int *count) {
    *count = 0;
    if (!fits(*op, *a, *b, *out)) return REFUSED;
    for (; *count < ALGORITHMS && *count < most; ++*count) {
        found[*count] = {};
        found[*count].algorithm.data[0] = uint64_t(*count) + 1;
    }
    return 0;
}
int cublasLtMatmulAlgoCheck(void *, Operation *op, Layout *a, Layout *b, Layout *, Layout *out,
                            const Algorithm *algorithm, Heuristic *result) {
    *result = {};
    const bool good = fits(*op, *a, *b, *out) && algorithm->data[0] >= 1 && algorithm->data[0] <= ALGORITHMS;
    return good ? SUPPORTED : REFUSED;
}
int cublasLtMatmul(void *, Operation *op, const float *alpha, const void *a, Layout *la, const void *b, Layout *lb,
                   const float *beta, const void *, Layout *, void *out, Layout *lo, const Algorithm *algorithm, void *,
                   size_t, Stream *stream) {
    if (!fits(*op, *la, *lb, *lo)) return REFUSED;
    const std::string with = op->epilogue == 1 ? "" : " with " + std::to_string(op->epilogue);
    note(std::string(stream->recording ? "record " : "launch ") + "product " + std::to_string(algorithm->data[0]) + with);
    note("layout " + described(*la) + " and " + described(*lb) + " into " + described(*lo));
    stream->add([op = *op, la = *la, lb = *lb, lo = *lo, a, b, out, scale = *alpha, kept = *beta,
                 which = algorithm->data[0]] {
        auto at = [](const Layout &l, bool turned, uint64_t row, uint64_t column) {
            return turned ? column + row * l.leading : row + column * l.leading;
        };
        const uint64_t inner = op.transposed[0] ? la.rows : la.columns;
        for (uint64_t column = 0; column < lo.columns; ++column)
            for (uint64_t row = 0; row < lo.rows; ++row) {
                float sum = 0;
                for (uint64_t k = 0; k < inner; ++k)
                    sum += load(a, la.type, at(la, op.transposed[0], row, k)) * load(b, lb.type, at(lb, op.transposed[1], k, column));
                const size_t place = row + column * lo.leading;
                float value = scale * sum + (kept != 0 ? kept * load(out, lo.type, place) : 0);
                // A bias for each row of the column-major result; sums over the inner size for each column of the second.
                if (op.epilogue == BIAS || op.epilogue == RELU_BIAS) value += load(op.bias, op.bias_type, row);
                if (op.epilogue == RELU_BIAS && value < 0) value = 0;
                store(out, lo.type, place, value);
            }
        for (uint64_t column = 0; op.epilogue == BGRADB && column < lo.columns; ++column) {
            float sum = 0;
            for (uint64_t k = 0; k < inner; ++k) sum += load(b, lb.type, at(lb, op.transposed[1], k, column));
            store(op.bias, F32, column, sum);
        }
        // FAKE_CUDA_EPILOGUES=slow: kernels are the faster way.
        const char *has = std::getenv("FAKE_CUDA_EPILOGUES");
        fake_clock += TIMES[which - 1] + (op.epilogue != 1 && has && std::strcmp(has, "slow") == 0 ? 100 : 0);
    });
    return 0;
}
}
