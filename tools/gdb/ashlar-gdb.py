# SPDX-License-Identifier: LGPL-2.1-or-later
"""Coroutines in gdb, in a live process or a core file:

    gdb -p PID -x tools/gdb/ashlar-gdb.py
    (gdb) ashlar-coroutines

prints each coroutine, its worker, what it waits for, and its stack (not where
lib/rt/context_portable.c is used). The stacks come from an
unwinder that puts the registers a waiting coroutine has saved (lib/rt/context_ARCH.c) in place of
the caller of the innermost frame.
"""

import gdb
from gdb.unwinder import Unwinder

# From the saved stack pointer upwards, as 8-byte words; then the stack pointer itself.
SAVED = {
    "i386:x86-64": (["", "r15", "r14", "r13", "r12", "rbx", "rbp", "rip"], "rsp"),
    "aarch64": (
        ["x%d" % n for n in range(19, 29)] + ["x29", "pc"] + [""] * 10,
        "sp",
    ),
}


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class CoroutineUnwinder(Unwinder):
    """While `context` is set, the caller of the innermost frame is what is saved there."""

    def __init__(self):
        super().__init__("ashlar-coroutine")
        self.context = None

    def __call__(self, frame):
        if self.context is None or frame.level() != 0:
            return None
        words, sp_name = SAVED[frame.architecture().name()]
        word = gdb.lookup_type("unsigned long")
        saved = gdb.Value(self.context).cast(word.pointer())
        # An innermost frame just below the coroutine's: gdb refuses callers that lie lower.
        info = frame.create_unwind_info(
            FrameId(gdb.Value(self.context).cast(word), frame.read_register("pc"))
        )
        for n, name in enumerate(words):
            if name:
                info.add_saved_register(name, saved[n])
        info.add_saved_register(sp_name, gdb.Value(self.context + 8 * len(words)).cast(word))
        return info


unwinder = CoroutineUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def every_coroutine():
    """Each struct co that is in use."""
    co_type = gdb.lookup_type("struct co")
    offset = next(f.bitpos // 8 for f in co_type.fields() if f.name == "every")
    head = gdb.parse_and_eval("&stacks.every")
    link = head["next"]
    while link != head:
        co = (link.cast(gdb.lookup_type("char").pointer()) - offset).cast(co_type.pointer())
        if int(co["name"]):
            yield co
        link = link["next"]


def print_frames(context):
    """The frames of a waiting coroutine; the innermost real frame stands before them."""
    unwinder.context = context
    gdb.invalidate_cached_frames()
    try:
        frame = gdb.newest_frame().older()
        while frame is not None and frame.is_valid():
            sal = frame.find_sal()
            place = "%s:%d" % (sal.symtab.filename, sal.line) if sal.symtab else hex(frame.pc())
            gdb.write("    %-28s %s\n" % (frame.name() or "??", place))
            frame = frame.older()
    finally:
        unwinder.context = None
        gdb.invalidate_cached_frames()


class Coroutines(gdb.Command):
    """List the coroutines of an Ashlar process with their stacks."""

    def __init__(self):
        super().__init__("ashlar-coroutines", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        known = gdb.newest_frame().architecture().name() in SAVED
        for co in every_coroutine():
            worker = co["worker"]
            running = worker["current"] == co
            why = "running" if running else co["why"].string() if int(co["why"]) else "ready"
            gdb.write("%s: %s: %s\n" % (worker["name"].string(), co["name"].string(), why))
            if known and not running:
                print_frames(int(co["fiber"]["context"]))


Coroutines()
