"""Divides videos by their groups (films, people), so that no group stands in two splits."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from input_pipeline.annotations.listed import ListedVideo
from input_pipeline.errors import DataError


def hold_out(groups: Iterable[str], share: float) -> set[str]:
    """About this share of the groups, chosen by a hash of their names.

    Whether a group is chosen depends on its name alone: not on a seed, on the version of Python or
    on which other groups there are. So a partial download has the same groups on the same side.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    return {group for group in groups if _rank(group) < share}


def hold_out_balanced(videos: Sequence[ListedVideo], share: float) -> set[str]:
    """Groups that together have about this share of the videos of each class.

    Groups are taken in the order of the hashes of their names, where a class still has less than
    its share. One that would bring a class above one and a half times the share is passed over: a
    film of which half a class is cut stays with the others.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    sizes = Counter(video.action for video in videos)
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        members[video.group][video.action] += 1
    held: Counter[str] = Counter()
    chosen: set[str] = set()
    for group in sorted(members, key=_rank):
        after = held + members[group]
        lacks = any(held[action] < share * sizes[action] for action in members[group])
        if lacks and all(after[a] <= 1.5 * share * sizes[a] for a in members[group]):
            held = after
            chosen.add(group)
    return chosen


def hold_out_per_class(groups: Mapping[str, Collection[str]], count: int) -> set[str]:
    """The `count` groups of each class whose names have the smallest hashes.

    Args:
      groups: the groups of each class.
      count: how many groups of each class are held out.

    Raises:
      DataError: a class would have no group left.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    short = [name for name, members in groups.items() if len(set(members)) <= count]
    if short:
        raise DataError(
            f"cannot hold out {count} groups (films, people) of each class, for these "
            f"have no more: {', '.join(short[:10])}{' ...' if len(short) > 10 else ''}; "
            "hold out fewer, or add the missing videos"
        )
    return {
        group for members in groups.values() for group in sorted(set(members), key=_rank)[:count]
    }


def drop_leaking(
    train: Iterable[ListedVideo], test_groups: Collection[str]
) -> tuple[list[ListedVideo], list[ListedVideo]]:
    """Training videos kept, and those dropped because their group is also tested on.

    The official splits of HMDB51 need this: each tests on 133 to 149 films that also give training
    videos of another class.
    """
    test = set(test_groups)
    kept: list[ListedVideo] = []
    dropped: list[ListedVideo] = []
    for video in train:
        (dropped if video.group in test else kept).append(video)
    return kept, dropped


def leaks(splits: Mapping[str, Iterable[str]]) -> list[str]:
    """The groups that stand in two splits or more, sorted.

    Args:
      splits: the groups of each split; a group may be repeated within one.
    """
    first: dict[str, str] = {}
    found = set()
    for split, groups in splits.items():
        for group in groups:
            if first.setdefault(group, split) != split:
                found.add(group)
    return sorted(found)


def _rank(group: str) -> float:
    """A number in [0, 1) that is the same for a name everywhere."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6], "big") / 2**48
