# What runs inside a DeepFaceLab trainer with control = "cooperative"; `dfld sync hook` puts it on the machine.
#
# Never imported by dfld: the trainer executes it every second between two iterations (its --execute-program),
# with the names model, model_save and program (the path of this file). It saves when asked to, and puts staged
# weights in place and loads them: in the training thread, so that no save of the trainer's can come in between.
# The last thing that happens is always the answer, so an answer means that all before it is done. What fails while no
# request is answered stands in <program>.error, with its traceback.
#
# Python 3.6, standard library only, and it must never raise: that would end the training.

import contextlib
import json
import os
import platform
import traceback
from pathlib import Path
from typing import Any

Model = Any  # DeepFaceLab's own: loss_history, get_iter, get_model_filename_list and the like
Json = Any  # what a note holds
Function = Any

LOSS_ROWS = 500  # what a judgement about a jump of the loss needs; more would only make the file larger


def tick(model: Model, save: Function, folder: Path) -> None:
    request = read_json(folder / "request.json")
    if request.get("token") and request["token"] != read_json(folder / "answer.json").get("token"):
        answer = {"token": request["token"]}
        error = error_of(lambda: do(request, answer, model, save, folder))
        if error:
            answer["error"] = error
        answer["iteration"] = iteration_of(model)
        write_json(folder / "answer.json", answer)
    losses = [[float(part) for part in row] for row in model.loss_history[-LOSS_ROWS:]]
    sign = {"iteration": iteration_of(model), "losses": losses, "process": process()}
    write_json(folder / "alive.json", sign)


def do(request: Json, answer: Json, model: Model, save: Function, folder: Path) -> None:
    if request.get("do") == "save":
        save()
    elif request.get("do") == "load":
        answer.update(load(model, folder, request))


def error_of(work: Function) -> str:
    # Whatever goes wrong, the training goes on.
    try:
        work()
    except Exception:
        return traceback.format_exc()
    return ""


def process() -> Json:
    # Which process this is, so that dfld can ask the machine whether that very one lives: numbers are used again.
    mark = {"pid": os.getpid(), "host": platform.node(), "system": platform.system()}  # type: Json
    with contextlib.suppress(Exception):  # without it dfld goes by the age of this note
        if mark["system"] == "Linux":
            behind_name = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            mark["started"] = int(behind_name.split()[19])
            mark["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            mark["pids"] = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 -- Path.readlink is Python 3.9
        elif mark["system"] == "Windows":
            mark["started"] = windows_start_time()
    return mark


def windows_start_time() -> int:
    import ctypes

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 -- there is none elsewhere
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    times = [ctypes.c_ulonglong() for _ in range(4)]  # creation, exit, kernel, user; as FILETIME
    if not kernel.GetProcessTimes(ctypes.c_void_p(kernel.GetCurrentProcess()), *[ctypes.byref(one) for one in times]):
        raise OSError("GetProcessTimes failed")
    return times[0].value


def load(model: Model, folder: Path, request: Json) -> Json:
    wanted = set(request["files"])
    # A name with a folder in it would reach outside the model's folder.
    if any(Path(name).name != name for name in [request["folder"], *wanted]):
        return {"error": "a name in the request holds a folder"}
    staged = folder / request["folder"]
    live = folder.parent.parent
    for name in sorted(wanted):
        if (staged / name).exists():
            (staged / name).replace(live / name)
    outcome = {"loaded": [], "refused": []}  # type: Json
    for item, filename in model.get_model_filename_list():
        path = Path(model.get_strpath_storage_for_file(filename))
        if path.name in wanted:
            outcome["loaded" if item.load_weights(str(path)) else "refused"].append(path.name)
    return outcome


def iteration_of(model: Model) -> int:
    return int(model.get_iter() if hasattr(model, "get_iter") else model.iter)


def read_json(path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: Json) -> None:
    write(path, json.dumps(content))


def write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    beside.replace(path)


names = globals()
if "program" in names:
    trouble = error_of(lambda: tick(names["model"], names["model_save"], Path(names["program"]).parent))
    if trouble:
        with contextlib.suppress(Exception):  # whatever is wrong with the disk
            write(Path(names["program"] + ".error"), trouble)
