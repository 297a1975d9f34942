"""What lies in an inbox and is never footage: the lists, as data, each entry with whose it is. Pure.

A name is compared in lower case. `docs/never-footage.md` is made from these lists (`make docs`), and `dfld scan
--dry-run` shows for each name that is left alone the words of its entry. What only the content of a file can say is
decided in `daemon.arrivals.scan`, with `daemon.arrivals.first_bytes`.
"""
# ruff: noqa: E501 -- tables: one entry a line

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Literal

Reason = Literal["system_folder", "system_file", "still_arriving", "hidden", "proxy", "no_picture", "companion"]

WILD = {"<word>": "[^.]+", "<digits>": "[0-9]+"}
"""In a glob: some letters without a dot, some digits."""
PART_STABLE_FOR_S = 3600.0
"""A video that may be a part of a download is taken once it is unchanged for so long, s: sound is downloaded after the
picture, and then both are joined; where that failed, the picture stays as it is."""
SIDECAR_ENDING = ".dfld.toml"
PARTIAL_SIBLINGS = (".aria2", ".part", ".filepart", ".crdownload", ".st", ".lftp-pget-status")
"""`clip.mp4` is still arriving while `clip.mp4.aria2` lies beside it: aria2, Axel and lftp keep their notes so, Firefox,
WinSCP and Chrome reserve the final name."""

VIDEO_ENDINGS = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".av1", ".avc", ".avi", ".bik", ".braw", ".cine", ".divx",
    ".drc", ".dv", ".evo", ".f4v", ".flv", ".gif", ".gxf", ".h261", ".h263", ".h264", ".h265", ".hevc", ".ifv",
    ".insv", ".ismv", ".ivf", ".ivr", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg",
    ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mpv", ".mqv", ".mts", ".mvi",
    ".mxf", ".nsv", ".nut", ".obu", ".ogm", ".ogv", ".ogx", ".qt", ".r3d", ".rec", ".rm", ".rmvb", ".roq", ".swf",
    ".tod", ".trp", ".ts", ".vc1", ".viv", ".vob", ".vro", ".webm", ".wmv", ".wtv", ".xesc", ".y4m",
})  # fmt: skip
"""Endings that say video. A file of such a name is footage until a worker finds that it is none."""

STILL_ENDINGS = frozenset({
    ".3fr", ".ari", ".arw", ".avif", ".avifs", ".bmp", ".bw", ".cin", ".cr2", ".cr3", ".crw", ".dcr", ".dng",
    ".dpx", ".erf", ".exr", ".fff", ".fits", ".hdr", ".heic", ".heif", ".hif", ".icb", ".iff", ".iiq", ".j2c",
    ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jps", ".jpx", ".jxl", ".kdc", ".mef",
    ".mos", ".mpo", ".mrw", ".nef", ".nrw", ".orf", ".pam", ".pbm", ".pcx", ".pef", ".pfm", ".pgm", ".pic", ".png",
    ".pnm", ".ppm", ".psb", ".psd", ".qoi", ".raf", ".ras", ".raw", ".rgb", ".rgba", ".rw2", ".rwl", ".sgi", ".sr2",
    ".srf", ".srw", ".sun", ".svg", ".targa", ".tga", ".tif", ".tiff", ".tx", ".vda", ".wbmp", ".webp", ".x3f",
    ".xbm", ".xpm",
})  # fmt: skip
"""Endings that say still picture, whether dfld reads them (engine.pictures.image_header) or not: never videos."""


_YOUTUBE_PICTURE = (
    "133 134 135 136 137 138 160 167 168 169 170 212 218 219 242 243 244 245 246 247 248 264 266 271 272 278 298 299 302 303 308 "
    "313 315 330 331 332 333 334 335 336 337 394 395 396 397 398 399 400 401 402 571 597 598 694 695 696 697 698 699 700 701 702"
)
_YOUTUBE_SOUND = "139 140 141 171 172 249 250 251 256 258 325 327 328 338 380 599 600 774"
JOINED_ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".flv", ".avi", ".m4v")
"""Of what yt-dlp joins picture and sound to."""
DOWNLOAD_PARTS: tuple[tuple[str, str], ...] = (
    (
        rf"f(?:{'|'.join([*_YOUTUBE_PICTURE.split(), *_YOUTUBE_SOUND.split()])})(?:-[a-z0-9]+)?",
        "`clip.f137.mp4`, with a number of YouTube's formats: picture or sound before they are joined",
    ),
    (r"f(?:hls|dash)-[^.]+", "`clip.fhls-1080p.mp4`, `clip.fdash-video.mp4`: picture or sound before they are joined"),
    (r"temp", "`clip.temp.mp4`: a file that is being joined or changed"),
)
"""What yt-dlp writes between the stem and the ending of a video that it will join, change and rename, and which a person
may write as well: (regular expression, words). Nothing in the file distinguishes the two, so it only waits longer."""
_PART = re.compile(rf"(.+\.)({'|'.join(regex for regex, _ in DOWNLOAD_PARTS)})(\.[^.]+)", re.IGNORECASE | re.DOTALL)
NEIGHBOURS_MIN = 2
"""So many files with the next numbers, of the two before and the two behind, make `take.f137.mov` one of a series."""


@dataclass(frozen=True)
class Names:
    """Names that one program or one kind of device makes."""

    globs: tuple[str, ...]
    """In lower case, with WILD. With `/`: a folder below a folder of that name."""
    whose: str


@dataclass(frozen=True)
class NameList:
    """Names that are left alone for one reason."""

    reason: Reason
    title: str
    text: str
    """What it means for who drops files, in sentences."""
    folders: bool
    files: bool
    content_decides: bool
    """A file of such a name is footage all the same where its first bytes are those of a video."""
    names: tuple[Names, ...] = field(repr=False)


def _names(*rows: tuple[str, str]) -> tuple[Names, ...]:
    return tuple(Names(tuple(globs.split("|")), whose) for globs, whose in rows)


NEVER_FOOTAGE: tuple[NameList, ...] = (
    NameList(
        "system_folder",
        "Folders of systems and servers",
        "Nothing below them is looked at, however deep. They hold what was deleted, previews, earlier states or the half of a "
        "file that another system keeps apart.",
        folders=True,
        files=False,
        content_decides=False,
        names=_names(
            ("@eadir", "Synology: indexes and previews"),
            ("#recycle", "Synology: deleted files"),
            ("#snapshot", "Synology: earlier states"),
            ("@tmp|@sharebin|@sharesnap|@database|@appstore", "Synology: the system's own"),
            ("@recycle|@recently-snapshot|@__thumb|.@__thumb|@qsys|.@qsys|.@upload_cache", "QNAP: deleted files, previews"),
            (".recycle|network trash folder|network recycle bin*", "Samba, netatalk, other servers: deleted files"),
            ("~snapshot|.snapshot|.snapshots|.zfs|.ckpt|.btrfs", "NetApp, Btrfs, ZFS: earlier states"),
            ("$recycle.bin|recycler|recycled", "Windows: deleted files"),
            ("system volume information", "Windows: restore points"),
            ("found.[0-9][0-9][0-9]", "Windows: what chkdsk saved"),
            ("$windows.~bt|$windows.~ws|$winreagent|$sysreset|msdownld.tmp|config.msi", "Windows: updates"),
            (".trash|.trash-*|.trashes", "Linux, macOS: deleted files"),
            ("lost+found", "Linux: what fsck saved"),
            ("lost.dir|.android_secure|.thumbnails|.globaltrash", "Android: what was saved or deleted, previews"),
            (".appledouble|.appledb|.appledesktop|.appledoubleaux", "netatalk: resource forks"),
            ("__macosx", "archives made on macOS: resource forks"),
            (".spotlight-v100|.fseventsd|.documentrevisions-v100|.temporaryitems|temporary items", "macOS: the system's own"),
            (".stversions|.stfolder", "Syncthing: earlier versions"),
            (".sync|.syncarchive", "Resilio Sync: deleted files, parts"),
            (".dropbox.cache|.tmp.drivedownload|.tmp.driveupload", "Dropbox, Google Drive: parts"),
            ("*.trickplay", "Jellyfin: previews for seeking"),
            ("extrafanart|extrathumbs|.actors|plex versions", "Kodi, Plex: pictures, copies in other sizes"),
            ("m4root/sub|xdroot/sub|contents/proxy", "Sony, Panasonic cards: proxies of the clips"),
            ("m4root/thmbnl|xdroot/thmbnl|contents/icon", "Sony, Panasonic cards: thumbnails"),
        ),
    ),
    NameList(
        "system_file",
        "Files of systems and desktops",
        "They lie in any folder, also among the frames of a sequence, and say nothing about it.",
        folders=False,
        files=True,
        content_decides=False,
        names=_names(
            ("._*", "macOS: the resource fork of the file of that name"),
            (".ds_store|icon\r|.localized|.volumeicon.icns", "macOS: how a folder is shown"),
            ("thumbs.db|ehthumbs.db|ehthumbs_vista.db|zbthumbnail.info|.picasa.ini|picasa.ini", "Windows, Picasa: previews"),
            ("desktop.ini|folder.ini|autorun.inf|.directory", "Windows, KDE: how a folder is shown"),
            ("~$*", "Office programs: locks"),
        ),
    ),
    NameList(
        "still_arriving",
        "What is still arriving",
        "A file of such a name is taken once the program gives it its final name.",
        folders=False,
        files=True,
        content_decides=False,
        names=_names(
            ("*.crdownload|*.crswap", "Chrome, Edge, Brave"),
            ("*.part|*.partial|*.parts", "Firefox, yt-dlp, rclone, Transmission, curl, Nextcloud"),
            ("*.download", "Safari"),
            ("*.opdownload", "Opera"),
            ("*.filepart", "WinSCP"),
            ("*.!qb", "qBittorrent"),
            ("*.!ut|*.!bt|~utorrentpartfile_*", "µTorrent, BitTorrent"),
            ("*.bc!", "BitComet"),
            ("*.!sync", "Resilio Sync"),
            ("*.xltd|*.td|*.td.cfg", "Xunlei"),
            ("*.fdmdownload|*.fxdl|*.idadownload|*.getright|*.jc!|*.ob!|*.dctmp|*.antifrag", "download managers"),
            ("*.aria2|*.aria2__temp", "aria2"),
            ("*.lftp-pget-status|*.lftp-get-status|.in.*|*.st", "lftp, Axel"),
            ("*.part-frag<digits>|*.ytdl|*.frag.urls", "yt-dlp: fragments"),
            ("*.dashvideo|*.dashaudio", "DASH downloaders: picture and sound before they are joined"),
            (".*.??????|.~tmp~|.rsync-partial|.rsync-tmp", "rsync"),
            (".syncthing.*|~syncthing~*|*.syncthing.tmp", "Syncthing"),
            (".*.~*|*.octransferid<digits>|.owncloudsync*", "Nextcloud, ownCloud"),
            (".getxfer.*|.megatmp*", "MEGA"),
            (".unison.*|.goutputstream-*|.nfs*|.fuse_hidden*|.smbdelete*|.sb-*|*.sb-<word>-<word>", "copies of systems"),
            (".pureftpd-upload.*|.ftpquota|.sftpgo-upload.*|.pending-*", "FTP servers, Android"),
            ("*.uploading|*.downloading|*.incomplete|*.unfinished|*.inprogress|*.copying", "named by what they are"),
            ("*.tmp|*.temp|*~|*.swp|*.lock|*.lck", "temporary files"),
        ),
    ),
    NameList(
        "still_arriving",
        "Folders that are still arriving",
        "Nothing below them is looked at until the program gives them their final names.",
        folders=True,
        files=False,
        content_decides=False,
        names=_names(
            ("*.download", "Safari"),
            ("*.crdownload|*.part|*.partial|*.!qb|*.!ut|*.!bt|*.bc!|*.!sync", "programs that name a folder as its files"),
            ("*.sb-<word>-<word>", "macOS: copies of folders that are being saved"),
            ("*.uploading|*.downloading|*.incomplete|*.unfinished|*.inprogress|*.copying", "named by what they are"),
            ("*.tmp|*.temp|*~", "temporary folders"),
        ),
    ),
    NameList(
        "hidden",
        "Hidden files and folders",
        "Whatever begins with a dot: `.done` and `.quarantine` of dfld itself, and what other programs hide.",
        folders=True,
        files=True,
        content_decides=False,
        names=_names((".*", "hidden")),
    ),
    NameList(
        "proxy",
        "Proxies of cameras",
        "Small copies of a clip that lies beside them: every face would be found twice. To use one all the same, give it the "
        "ending of a video.",
        folders=False,
        files=True,
        content_decides=False,
        names=_names(
            ("*.lrv", "GoPro, Insta360: a small copy of the clip"),
            ("*.lrf", "DJI: a small copy of the clip"),
            ("*.thm", "GoPro, Canon: a thumbnail"),
        ),
    ),
    NameList(
        "no_picture",
        "Sound and subtitle streams",
        "They have no picture, although some of them lie in the containers of videos.",
        folders=False,
        files=True,
        content_decides=False,
        names=_names(
            ("*.wav|*.bwf|*.w64|*.rf64|*.aif|*.aiff|*.caf|*.au|*.snd", "recorders"),
            ("*.mp3|*.m4a|*.m4b|*.aac|*.oga|*.opus|*.flac|*.alac|*.wma|*.mka|*.weba|*.amr", "players, downloads"),
            ("*.ac3|*.eac3|*.dts|*.dtshd|*.thd|*.mp2|*.mpa|*.ape|*.wv|*.tta|*.mid|*.midi|*.pek|*.cfa", "editors"),
            ("*.sub|*.idx|*.sup|*.mks", "discs: subtitles"),
        ),
    ),
    NameList(
        "companion",
        "What goes with a clip",
        "It stays where it is; no job comes of it. Where such a name lies, its content decides: a video called `clip.mp4.txt` "
        "is taken. So does any other file whose name is that of a video beside it with another ending.",
        folders=False,
        files=True,
        content_decides=True,
        names=_names(
            (f"*{SIDECAR_ENDING}|{SIDECAR_ENDING.lstrip('.')}", "dfld: what is different for one file"),
            ("*.srt|*.vtt|*.ass|*.ssa|*.smi|*.sami|*.sbv|*.ttml|*.dfxp|*.itt|*.lrc|*.usf|*.stl|*.scc", "subtitles"),
            ("*.nfo|*.txt|*.text|*.md|*.rst|*.rtf|*.pdf|*.doc|*.docx|*.odt|*.htm|*.html|*.mht|*.description", "descriptions"),
            ("*.json|*.jsonl|*.xml|*.yml|*.yaml|*.toml|*.ini|*.cfg|*.conf|*.csv|*.tsv|*.xls|*.xlsx|*.ods|*.plist", "data"),
            ("*.xmp|*.aae|*.pp3|*.dop|*.cos|*.on1|*.rmd|*.lut|*.cube|*.3dl|*.icc|*.icm", "photo programs: edits, colours"),
            ("*.log|*.err|*.out|*.stats|*.mbtree", "logs"),
            ("*.md5|*.sha1|*.sha256|*.sha512|*.crc|*.crc32|*.sfv|*.par2|*.mhl|*.xxh|*.sig|*.asc|*.ffindex|*.ffp", "checksums"),
            ("*.m3u|*.m3u8|*.pls|*.cue|*.xspf|*.asx|*.wpl|*.mpcpl|*.mpd|*.ffconcat|*.url|*.webloc|*.lnk|*.desktop|*.strm", "lists and links"),
            ("*.torrent|*.magnet|*.nzb|*.metalink|*.meta4", "what a download began from"),
            ("*.edl|*.ale|*.aaf|*.fcpxml|*.otio|*.prproj|*.drp|*.drt|*.veg|*.kdenlive|*.mlt|*.aep|*.nk|*.blend|*.hip", "projects"),
            ("*.cpi|*.mpl|*.bdm|*.moi|*.modd|*.moff|*.pgi|*.tid|*.tdt|*.bup|*.ifo|*.ppn|*.cpf|*.sav|*.gpx|*.fit|*.ctg", "cameras, discs"),
            ("*.ico|*.icns|*.cur|*.eps|*.ai|*.xcf|*.kra|*.bif", "icons, drawings, previews for seeking"),
            ("*.ogg", "sound, mostly"),
            ("*.py|*.sh|*.bat|*.cmd|*.ps1|*.js|*.npy|*.npz|*.pkl|*.pt|*.pth|*.onnx|*.db|*.sqlite|*.sqlite3|*.jsonld", "programs and their data"),
        ),
    ),
)  # fmt: skip
"""Read from the top: the first list that holds a name says why it is left alone."""


@dataclass(frozen=True)
class LeftAlone:
    """Why a name is left alone."""

    reason: Reason
    whose: str
    content_decides: bool = False


def file_left_alone(name: str) -> LeftAlone | None:
    """Return why a file of this name is no footage; None where its name says nothing of the kind."""
    return _FILES.find(name.lower(), "")


def folder_left_alone(name: str, parent: str = "") -> LeftAlone | None:
    """Return why a folder of this name, below a folder named `parent`, is not looked into; None where it is."""
    return _FOLDERS.find(name.lower(), parent.lower())


def is_video_name(name: str) -> bool:
    return _ending(name) in VIDEO_ENDINGS


def is_still_name(name: str) -> bool:
    return _ending(name) in STILL_ENDINGS


@dataclass(frozen=True)
class DownloadPart:
    """A video whose name may be that of a part of a download, and the names beside it that say more."""

    joined: tuple[str, ...]
    """Of the file that it is joined to."""
    neighbours: tuple[str, ...]
    """Of the files of a series that it may be one of."""

    def joined_to(self, siblings: Collection[str]) -> str | None:
        """Return the name of the joined file, where it lies in its folder; `siblings`: the names there."""
        return None if self.is_of_series(siblings) else next((name for name in self.joined if name in siblings), None)

    def is_of_series(self, siblings: Collection[str]) -> bool:
        return sum(name in siblings for name in self.neighbours) >= NEIGHBOURS_MIN


def download_part(name: str) -> DownloadPart | None:
    """Return what a name says that may be that of a part of a download; None for every other name."""
    found = _PART.fullmatch(name)
    if found is None or found[3].lower() not in VIDEO_ENDINGS:
        return None
    stem, part, ending = found.groups()
    number = int(part[1:]) if part[1:].isdecimal() else None
    neighbours = () if number is None else (number - 2, number - 1, number + 1, number + 2)
    return DownloadPart(
        tuple(stem.removesuffix(".") + joined for joined in JOINED_ENDINGS),
        tuple(f"{stem}{part[0]}{one}{ending}" for one in neighbours),
    )


def never_footage_page() -> str:
    """Return docs/never-footage.md: every list with its entries."""
    parts = ["# What is never footage", _HEAD]
    for one in NEVER_FOOTAGE:
        kinds = " and ".join(kind for kind, holds in (("files", one.files), ("folders", one.folders)) if holds)
        rows = ["| names | whose they are |", "|---|---|"]
        for names in one.names:
            globs = ", ".join(f"`{glob}`" for glob in names.globs).replace("|", "\\|").replace("\r", "\\r")
            rows.append(f"| {globs} | {names.whose} |")
        parts += [f"## {one.title}", f"`{one.reason}`, {kinds}. {one.text}", "\n".join(rows)]
    parts += [
        "## What is footage",
        "Names with these endings are videos until they turn out to be none, and then go to quarantine with the reason: "
        f"{_listed(VIDEO_ENDINGS)}.",
        "Pictures are frames of the folder that they lie in, never videos of their own: a folder of pictures that dfld "
        "reads is taken as one sequence, of others the log names the folder once, and it stays where it is: "
        f"{_listed(STILL_ENDINGS)}.",
        f"Videos of these names wait until they are unchanged for {PART_STABLE_FOR_S / 3600:g} h, because yt-dlp gives "
        "them to what it has not joined yet: "
        f"{'; '.join(words for _, words in DOWNLOAD_PARTS)}. Where the joined `clip.mp4` lies beside such a part, the part is "
        f"left alone as `still_arriving`. One of a series, `take.f136.mov`, `take.f137.mov`, `take.f138.mov`, does not wait.",
        f"While one of {', '.join(f'`clip.mp4{ending}`' for ending in PARTIAL_SIBLINGS)} lies beside it, `clip.mp4` waits.",
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = (
    "What lies in an inbox under these names is left alone without a word; `dfld scan --dry-run` lists it, with the reason. "
    "Capitals make no difference. A clip that happens to have such a name is taken once it is renamed. `[watch] ignore` adds "
    "names of your own; reference photos are never footage either, wherever they lie. This page is generated: `make docs`."
)


_Rank = tuple[int, int, int]
"""(place of the list, 0 whole name, 1 ending, 2 other glob; its place among those): the lowest wins."""


@dataclass(frozen=True)
class _Lookup:
    """All lists, ready for names: whole names and endings by dictionary, the other globs behind one regular expression."""

    whole: Mapping[str, tuple[_Rank, LeftAlone]]
    endings: Mapping[str, tuple[_Rank, LeftAlone]]
    patterns: Sequence[tuple[re.Pattern[str], tuple[_Rank, LeftAlone]]]
    any_pattern: re.Pattern[str]

    def find(self, name: str, parent: str) -> LeftAlone | None:
        found = [self.whole[one] for one in (name, f"{parent}/{name}") if one in self.whole]
        dot = name.find(".")
        while dot >= 0:
            if (by_ending := self.endings.get(name[dot:])) is not None:
                found.append(by_ending)
            dot = name.find(".", dot + 1)
        if self.any_pattern.match(name):
            found += [ranked for pattern, ranked in self.patterns if pattern.match(name)]
        return min(found, key=_rank)[1] if found else None


def _rank(ranked: tuple[_Rank, LeftAlone]) -> _Rank:
    return ranked[0]


def _lookup(*, folders: bool) -> _Lookup:
    whole: dict[str, tuple[_Rank, LeftAlone]] = {}
    endings: dict[str, tuple[_Rank, LeftAlone]] = {}
    patterns: list[tuple[re.Pattern[str], tuple[_Rank, LeftAlone]]] = []
    for place, names in enumerate(NEVER_FOOTAGE):
        for entry in names.names if (names.folders if folders else names.files) else ():
            left = LeftAlone(names.reason, entry.whose, names.content_decides)
            for glob in entry.globs:
                if not any(character in glob for character in "*?["):
                    whole.setdefault(glob, ((place, 0, 0), left))
                elif glob.startswith("*.") and not any(character in glob[2:] for character in "*?[<"):
                    endings.setdefault(glob[1:], ((place, 1, -glob.count(".")), left))
                else:
                    patterns.append((re.compile(_regex(glob)), ((place, 2, len(patterns)), left)))
    return _Lookup(whole, endings, patterns, re.compile("|".join(pattern.pattern for pattern, _ in patterns)))


def _regex(glob: str) -> str:
    regex = translate(glob)
    for wild, letters in WILD.items():
        regex = regex.replace(wild, letters)
    return regex


_FILES = _lookup(folders=False)
_FOLDERS = _lookup(folders=True)


def _ending(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}" if "." in name[1:] else ""


def _listed(endings: frozenset[str]) -> str:
    return ", ".join(f"`{ending}`" for ending in sorted(endings))
