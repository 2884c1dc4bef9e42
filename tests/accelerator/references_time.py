"""Time lines as plain simulations: two arrays, and devices of a pipeline that look at all tasks at every moment."""


def two_arrays(jobs):
    """Jobs (first, second) in order; the second array starts a job's second part when the first is done and it is free."""
    first_free = second_free = 0.0
    for first, second in jobs:
        first_free += first
        second_free = max(second_free, first_free) + second
    return max(first_free, second_free)


def pipeline(scheme, stages, micro_batches, forward, backward, predictor, forward_alone, batches):
    """Makespan. Tasks are (batch, direction, stage, kind, micro-batch); each has a list of tasks that must be done before."""
    ways = 2 if scheme == "chimera" else 1
    micros = range(micro_batches // ways)

    def ends(b, s):
        kinds = [("predictor", 0)] if batches[b] == "G" else [("backward", m) for m in micros]
        return [(b, d, s, *kind) for d in range(ways) for kind in kinds]

    needs = {}
    for b, phase in enumerate(batches):
        for d in range(ways):
            for s in range(stages):
                for m in micros:
                    needs[b, d, s, "forward", m] = before = ends(b - 1, s) if b else []
                    if s:
                        before = [*before, (b, d, s - 1, "forward", m)]
                    if phase == "B":
                        if scheme != "gpipe" and m >= stages - s:
                            before = [*before, (b, d, s, "backward", m - (stages - s))]
                        back = [(b, d, s, "forward", m), *([(b, d, s + 1, "backward", m)] if s < stages - 1 else [])]
                        if scheme == "gpipe":
                            back += [(b, d, s, "forward", other) for other in micros]
                        needs[b, d, s, "backward", m] = back
                    needs[b, d, s, "forward", m] = before
                if phase == "G":
                    needs[b, d, s, "predictor", 0] = [(b, e, s, "forward", m) for e in range(ways) for m in micros]

    time = {"forward": forward, "backward": backward, "predictor": predictor}
    urgency = ("backward", "predictor", "forward")
    done, running, waiting, now = set(), {}, dict(needs), 0.0
    while waiting or running:
        for device in range(stages):
            if device in running:
                continue
            ready = [
                task
                for task, before in waiting.items()
                if (task[2] if task[1] == 0 else stages - 1 - task[2]) == device and done.issuperset(before)
            ]
            if ready:
                task = min(ready, key=lambda t: (t[0], urgency.index(t[3]), t[4], t[1]))
                del waiting[task]
                times = forward_alone if task[3] == "forward" and batches[task[0]] == "G" else time[task[3]]
                running[device] = now + times[task[2]], task
        now = min(end for end, _ in running.values())
        for device in [device for device, (end, _) in running.items() if end == now]:
            done.add(running.pop(device)[1])
    return now
