"""Why a file of an inbox is left alone or waits, as a sentence with the remedy: for `dfld scan --dry-run`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from daemon.arrivals.scan import PassedOver, PassReason
from daemon.arrivals.settling import Obstacle

_RENAME = "rename it to have it taken"
PASSED_OVER: Mapping[PassReason, str] = {
    "system_folder": f"a system keeps this folder for itself; {_RENAME}",
    "system_file": f"a system keeps this file for itself; {_RENAME}",
    "still_arriving": "it is still arriving; it is taken once it gets its final name",
    "hidden": f"its name begins with a dot, so it is hidden; {_RENAME}",
    "proxy": f"it is a camera's small copy of a clip; {_RENAME}",
    "no_picture": f"its name says that it holds no moving picture; {_RENAME}",
    "companion": f"it goes with a clip and is none itself; {_RENAME}",
    "ignored_name": "the configuration ignores such names; change ignore in [watch] to have it taken",
    "done_marker": "it is the marker that says that another file is complete",
    "not_looked_into": "folders are not looked into here; set recursive = true, or put its files into the inbox itself",
    "cannot_be_listed": "the folder cannot be listed; give the service's user the right to read it",
    "reference_photos": "it is, or holds, a reference photo, and those are never footage; move the footage elsewhere",
    "image_outside_a_folder": "an image right in the inbox is no footage; put the frames of a clip into a folder",
    "images_beside_videos": "images beside a video are taken for posters; move frames into a folder of their own",
    "pictures_not_read": "dfld reads no picture of this kind; convert them to PNG or JPEG",
    "pictures_left_out": "dfld reads some of these pictures and not others; convert the others to PNG or JPEG",
    "no_video_beside_images": f"it lies among images and does not say that it is a video; {_RENAME}, as clip.mp4",
    "text": "it is text, not a video",
    "broken_link": "it is a link to nothing; point it at a file, or remove it",
    "vanished": "it went away during the scan",
    "link_to_a_folder": "links to folders are not followed; put the files into the inbox",
    "link_leads_outside": "the link leads out of the inbox; name the folder that it leads to in link_targets",
    "not_a_regular_file": "it is no regular file (a pipe, socket or device); remove it",
}
OBSTACLES: Mapping[Obstacle, str] = {
    "": "",
    "not_regular": "it is no regular file, or a folder without one",
    "empty": "it is empty; copy it again if nothing writes to it any more",
    "sparse": "it has holes where nothing was written yet; it is taken when they are filled",
    "still_downloading": "a download of it lies beside it; it is taken when that is finished or removed",
    "no_done_marker": "the marker that says that it is complete (done_marker) is not there yet",
    "unreadable": "it cannot be read; give the service's user the right to read it",
    "changing": "it changed a moment ago",
    "may_be_a_part": "its name is that of a part that yt-dlp joins; it is taken when it is unchanged for an hour",
    "open_for_writing": "a program has it open for writing",
}


def why_passed_over(one: PassedOver) -> str:
    """Return why a file or folder is passed over, and what its taking needs."""
    detail = one.detail if one.detail not in ("", one.reason) else ""
    return PASSED_OVER[one.reason] + (f" ({detail})" if detail else "")


def why_waiting(obstacle: Obstacle) -> str:
    """Return what holds a unit back that could be taken otherwise."""
    return OBSTACLES[obstacle]
