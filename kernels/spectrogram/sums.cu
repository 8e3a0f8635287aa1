// The spectrogram loss of each clip from its tiles' sums, what its slopes are multiplied by, and the mean over the clips.
//
// 12 bytes a tile of 1024 samples: bound by the time that a launch takes. Tiles, then lanes, are added in a fixed order in
// f64, so that the bits repeat.
#include "spectrogram/measure.cuh"

namespace evoke {

constexpr int CLIPS_THREADS = WARP, SUM_THREADS = WARP;

} // namespace evoke

using namespace evoke;

// clips (clips), slopes (clips, 2) or null, from partials (clips, tiles, TERMS); `factor` is the share over the clips, and
// `entries` the numbers of one clip that the mean is over. One block a clip.
EVOKE_KERNEL(spectrogram_clips, CLIPS_THREADS, 0, Global<float> clips, Global<float> slopes,
             Global<const float> partials, Global<const float> scale, int tiles, float entries, float factor,
             Settings settings) {
    EVOKE_SHARED(double, lanes, TERMS * CLIPS_THREADS);
    double own[TERMS] = {0.0, 0.0, 0.0};
    const Global<const float> of_clip = partials + ptrdiff_t(block_x()) * tiles * TERMS;
    for (int tile = thread(); tile < tiles; tile += CLIPS_THREADS)
        for (int i = 0; i < TERMS; ++i) own[i] += of_clip.load(tile * TERMS + i);
    for (int i = 0; i < TERMS; ++i) lanes.store(i * CLIPS_THREADS + thread(), own[i]);
    sync_block();
    if (thread() > 0) return;
    double sums[TERMS] = {0.0, 0.0, 0.0};
    for (int i = 0; i < TERMS; ++i)
        for (int lane = 0; lane < CLIPS_THREADS; ++lane) sums[i] += lanes.load(i * CLIPS_THREADS + lane);
    const double count = entries;
    if (settings.measure != CONVERGENCE) {
        clips.store(block_x(), float(sums[0] / count));
        return;
    }
    // Beside silence a ratio says nothing.
    const bool silent = sums[1] <= count * double(settings.floor);
    const float ratio = silent ? 0.0f : evoke::sqrt(float(sums[0] / sums[1]));
    clips.store(block_x(), ratio + float(sums[2] / count));
    if (!slopes) return;
    const float half = 0.5f * scale.load(0) * factor;
    const float norms = evoke::sqrt(float(sums[0])) * evoke::sqrt(float(sums[1]));
    slopes.store(2 * block_x(), silent || norms == 0.0f ? 0.0f : half / norms);
    slopes.store(2 * block_x() + 1, half / entries);
}

// sums (2): the mean of the clips times scale and share, and the mean. One block.
EVOKE_KERNEL(spectrogram_sums, SUM_THREADS, 0, Global<float> sums, Global<const float> of_clips,
             Global<const float> scale, int clips, float share) {
    EVOKE_SHARED(double, lanes, SUM_THREADS);
    double own = 0.0;
    for (int clip = thread(); clip < clips; clip += SUM_THREADS) own += of_clips.load(clip);
    lanes.store(thread(), own);
    sync_block();
    if (thread() > 0) return;
    double total = 0.0;
    for (int lane = 0; lane < SUM_THREADS; ++lane) total += lanes.load(lane);
    const double mean = total / clips;
    sums.store(0, float(mean * double(scale.load(0)) * double(share)));
    sums.store(1, float(mean));
}
