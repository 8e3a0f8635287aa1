// Who is ordered before whom: a vector clock for each warp, moved on by barriers.
//
// Warp w's own clock is `at(w, w)`. An access of warp t at its clock c lies before what warp u does now if
// u's view of t has reached c. Lanes of one warp are ordered by the warp's own barriers alone: a shuffle orders no
// memory.
#pragma once

#include <cstdint>
#include <vector>

namespace evoke::emulator {

class Clocks {
  public:
    void reset(int warps) {
        count = warps;
        views.assign(size_t(warps) * warps, 0);
        for (int w = 0; w < warps; ++w) at(w, w) = 1;
    }

    uint32_t own(int warp) const { return views[size_t(warp) * count + warp]; }

    // Whether an access by `thread` at its warp's clock `clock` lies before what `now` does.
    bool ordered(int thread, uint32_t clock, int now) const {
        if (thread == now) return true;
        const int theirs = thread / 32, ours = now / 32;
        const uint32_t seen = views[size_t(ours) * count + theirs];
        return theirs == ours ? clock < seen : clock <= seen;
    }

    // A barrier of these warps: each has now seen what any of them had.
    void join(const std::vector<int> &warps) {
        std::vector<uint32_t> most(count, 0);
        for (int w : warps)
            for (int i = 0; i < count; ++i) most[i] = most[i] > at(w, i) ? most[i] : at(w, i);
        for (int w : warps) {
            for (int i = 0; i < count; ++i) at(w, i) = most[i];
            at(w, w) += 1;
        }
    }

    void advance(int warp) { at(warp, warp) += 1; }

  private:
    int count = 0;
    std::vector<uint32_t> views;
    uint32_t &at(int viewer, int viewed) { return views[size_t(viewer) * count + viewed]; }
};

} // namespace evoke::emulator
